//! Creates the screenshots of the documentation: `screenshots FOLDER`.

use std::path::PathBuf;

use anyhow::Context as _;
use oxipng::{Options, optimize_from_memory};
use voting_tests::browser::Browser;
use voting_tests::deployment::Deployment;
use voting_tests::http::Visitor;
use voting_tests::process::{Local, Signal};
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::Redis;

const CATS: &str = "button[value=Cats]";

/// The output folder.
struct Album(PathBuf);

impl Album {
    /// Saves a screenshot.
    async fn keep(&self, name: &str, browser: &Browser) -> anyhow::Result<()> {
        let path = self.0.join(format!("{name}.png"));
        let picture = optimize_from_memory(&browser.screenshot().await, &Options::from_preset(4))?;
        std::fs::write(&path, &picture).with_context(|| path.display().to_string())?;
        println!("{} ({} KB)", path.display(), picture.len().div_ceil(1000));
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).context("screenshots FOLDER")?;
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let album = Album(folder.into());
    steps(&album).await?;
    split(&album).await?;
    outages(&album).await
}

/// Opens a page and waits until it is connected and its animations have ended.
async fn open(browser: &Browser, url: &str) {
    browser.open(url).await;
    browser.wait_for("#connection", "Live").await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
}

/// The steps of the tutorial with its votes.
async fn steps(album: &Album) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let step = async |arguments: &[&str]| {
        let local = Local::start(data.path(), arguments).await;
        let browser = Browser::start().await;
        open(&browser, &local.url).await;
        (local, browser)
    };

    let (local, browser) = step(&["--step", "1"]).await;
    for choice in ["Cats", "Cats", "Dogs", "Dogs", "Dogs", "Dogs"] {
        Visitor::new(&local.url).vote(choice).await;
    }
    open(&browser, &local.url).await;
    album.keep("step-1", &browser).await?;
    browser.end().await;
    local.end(Signal::Terminate).await;

    let (local, browser) = step(&["--step", "2", "--locked"]).await;
    album.keep("step-2", &browser).await?;
    browser.end().await;
    local.end(Signal::Terminate).await;

    let (local, browser) = step(&["--step", "3"]).await;
    album.keep("step-3", &browser).await?;
    browser.resize(390, 844).await;
    album.keep("phone", &browser).await?;
    browser.resize(320, 700).await;
    album.keep("phone-small", &browser).await?;
    browser.resize(1280, 800).await;
    browser.follow("[role=switch]").await;
    browser.follow(CATS).await;
    open(&browser, &local.url).await;
    album.keep("step-3-flag", &browser).await?;
    browser.prefer(&[("prefers-color-scheme", "dark")]).await;
    album.keep("dark", &browser).await?;
    browser.prefer(&[("prefers-color-scheme", "light")]).await;
    browser.open(&format!("{}/elsewhere", local.url)).await;
    album.keep("not-found", &browser).await?;
    browser.quit().await;
    local.end(Signal::Terminate).await;

    let (local, browser) = step(&["--step", "4"]).await;
    album.keep("step-4", &browser).await?;
    browser.without_scripts().await;
    browser.follow(CATS).await;
    album.keep("without-scripts", &browser).await?;
    browser.end().await;
    local.end(Signal::Terminate).await;
    Ok(())
}

/// Where the requests go, on a projector and on a phone.
async fn split(album: &Album) -> anyhow::Result<()> {
    /// The lanes are full.
    const WINDOW: std::time::Duration = std::time::Duration::from_secs(13);
    let load = "rate=40&votes=on";
    for (name, scheme, arguments) in
        [("split", "light", &[][..]), ("split-bad", "dark", &["--faults", "error=20%,tail=8%:1500ms,seed=3"])]
    {
        let data = tempfile::tempdir()?;
        let local = Local::start(data.path(), arguments).await;
        Visitor::new(&local.url).post("/split/load", load).await;
        let browser = Browser::start().await;
        browser.prefer(&[("prefers-color-scheme", scheme)]).await;
        browser.resize(1280, 720).await;
        browser.open(&format!("{}/split", local.url)).await;
        browser.wait_for("#lanes .release-2 .share", "%").await;
        tokio::time::sleep(WINDOW).await;
        album.keep(name, &browser).await?;
        if scheme == "light" {
            browser.resize(390, 844).await;
            tokio::time::sleep(WINDOW).await;
            album.keep("split-phone", &browser).await?;
        }
        browser.end().await;
        local.end(Signal::Terminate).await;
    }
    Ok(())
}

/// The pages during an outage.
async fn outages(album: &Album) -> anyhow::Result<()> {
    let redis = Redis::database().await;
    let proxy = Proxy::start(redis.address(), Mode::Open).await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url_at(proxy.address()), &[]).await;
    let browser = Browser::start().await;
    proxy.set(Mode::Closed);
    browser.open(&deployment.app.url("/")).await;
    album.keep("votes-unavailable", &browser).await?;
    browser.follow(CATS).await;
    album.keep("vote-refused", &browser).await?;
    browser.quit().await;
    Ok(())
}
