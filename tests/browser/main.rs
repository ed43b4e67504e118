//! The page in a real browser. Only tests of outages may leave messages in the console.

mod accessibility;
mod feature_flag;
mod history;
mod layout;
mod lighthouse;
mod live;
mod markup;
mod outage;
mod proxies;
mod split;
mod voting;

use tempfile::TempDir;
use voting_tests::browser::{Browser, Engine};
use voting_tests::process::Local;

const CATS: &str = "button[value=Cats]";
const DOGS: &str = "button[value=Dogs]";

/// A step of the tutorial, its data folder, and a browser with the page.
async fn visit(engine: Engine, arguments: &[&str]) -> (Browser, Local, TempDir) {
    let data = tempfile::tempdir().unwrap();
    let local = Local::start(data.path(), arguments).await;
    let browser = Browser::of(engine).await;
    browser.open(&local.url).await;
    (browser, local, data)
}
