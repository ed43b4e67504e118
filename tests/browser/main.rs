//! The page in a real browser. No test may leave a message in the browser's console, but for those that stage an
//! outage.

mod accessibility;
mod feature_flag;
mod history;
mod layout;
mod live;
mod outage;
mod voting;

use tempfile::TempDir;
use voting_tests::browser::Browser;
use voting_tests::process::Local;

/// The buttons of the two choices.
const CATS: &str = "button[value=Cats]";
const DOGS: &str = "button[value=Dogs]";

/// A step of the tutorial with the folder of its votes, and a browser that has its page open.
async fn visit(arguments: &[&str]) -> (Browser, Local, TempDir) {
    let data = tempfile::tempdir().unwrap();
    let local = Local::start(data.path(), arguments).await;
    let browser = Browser::start().await;
    browser.open(&local.url).await;
    (browser, local, data)
}
