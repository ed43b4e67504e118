//! The page during outages, which also leave messages in the console.

use std::time::Duration;

use rstest::rstest;
use voting_tests::browser::Browser;
use voting_tests::browser::Engine::{self, Chromium, Firefox, WebKit};
use voting_tests::deployment::Deployment;
use voting_tests::process::Signal;
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::Redis;
use voting_tests::{Stopwatch, figure};

use crate::{CATS, DOGS};

/// What an open page showed after a kill, and after the restart.
fn seen(notice: Duration, votes: Duration) -> String {
    format!("the page says so after {notice:.1?}, and shows the votes {votes:.1?} after the restart")
}

#[rstest]
#[tokio::test]
async fn an_open_page_survives_an_outage_of_analytics(#[values(Chromium, Firefox, WebKit)] engine: Engine) {
    let redis = Redis::database().await;
    let mut deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
    let browser = Browser::of(engine).await;
    browser.open(&deployment.app.url("/")).await;
    browser.follow(CATS).await;
    browser.wait_for("#connection", "Live").await;

    deployment.analytics.signal(Signal::Kill);
    deployment.analytics.wait().await;
    let stopwatch = Stopwatch::start();
    browser.wait_for("#results", "The votes are unavailable right now. You can still vote.").await;
    let notice = stopwatch.elapsed();
    assert_eq!(browser.text("[data-release=analytics]").await, "unavailable");
    assert_eq!(browser.text("[data-count='0']").await, "–");
    browser.follow(DOGS).await;
    assert_eq!(browser.text(".notice").await, "Your vote for Dogs was counted.");
    assert_eq!(browser.text("[data-release=analytics]").await, "unavailable");

    deployment.analytics.restart().await;
    let stopwatch = Stopwatch::start();
    browser.wait_for("#results", "Cats: 1/2 (50%) | Dogs: 1/2 (50%)").await;
    figure("SIGKILL of analytics", seen(notice, stopwatch.elapsed()));
    assert_eq!(browser.text("[data-release=analytics]").await, "1.1");
    assert_eq!(browser.text("[data-count='0']").await, "1");
    browser.end().await;
}

#[rstest]
#[tokio::test]
async fn the_page_reconnects_when_the_app_is_back(#[values(Chromium, Firefox, WebKit)] engine: Engine) {
    let redis = Redis::database().await;
    let mut deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
    let browser = Browser::of(engine).await;
    browser.open(&deployment.app.url("/")).await;
    browser.wait_for("#connection", "Live").await;
    deployment.app.signal(Signal::Kill);
    deployment.app.wait().await;
    let stopwatch = Stopwatch::start();
    browser.wait_for("#connection", "Reconnecting").await;
    let notice = stopwatch.elapsed();
    deployment.app.restart().await;
    let stopwatch = Stopwatch::start();
    deployment.visitor().vote("Dogs").await;
    browser.wait_for("#connection", "Live").await;
    browser.wait_for("#results", "Cats: 0/1 (0%) | Dogs: 1/1 (100%)").await;
    figure("SIGKILL of the app", seen(notice, stopwatch.elapsed()));
    browser.quit().await;
}

#[rstest]
#[tokio::test]
async fn an_unconfirmed_vote_can_be_resubmitted_and_counts_once(
    #[values(Chromium, Firefox, WebKit)] engine: Engine,
) {
    let redis = Redis::database().await;
    let proxy = Proxy::start(redis.address(), Mode::Open).await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url_at(proxy.address()), &[]).await;
    let browser = Browser::of(engine).await;
    browser.open(&deployment.app.url("/")).await;
    proxy.set(Mode::Closed);
    browser.follow(CATS).await;
    assert_eq!(browser.text("h1").await, "Your vote is not confirmed");
    let ballot = browser.attribute("[name=ballot]", "value").await;
    browser.follow(CATS).await;
    assert_eq!(browser.text(".status").await, "503");
    assert_eq!(browser.attribute("[name=ballot]", "value").await, ballot);
    proxy.set(Mode::Open);
    browser.follow(CATS).await;
    browser.wait_for(".notice", "Your vote for Cats was counted.").await;
    assert_eq!(deployment.visitor().results().await, "Cats: 1/1 (100%) | Dogs: 0/1 (0%)");
    browser.quit().await;
}

#[rstest]
#[tokio::test]
async fn an_open_page_is_live_again_once_the_network_is_back(
    #[values(Chromium, Firefox, WebKit)] engine: Engine,
) {
    let redis = Redis::database().await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
    let network = Proxy::start(deployment.app.address, Mode::Open).await;
    let browser = Browser::of(engine).await;
    browser.open(&format!("http://{}", network.address())).await;
    browser.wait_for("#connection", "Live").await;
    network.set(Mode::Closed);
    browser.wait_for("#connection", "Reconnecting").await;
    deployment.visitor().vote("Dogs").await;
    network.set(Mode::Open);
    browser.wait_for("#connection", "Live").await;
    browser.wait_for("#results", "Cats: 0/1 (0%) | Dogs: 1/1 (100%)").await;
    browser.follow(CATS).await;
    assert_eq!(deployment.visitor().results().await, "Cats: 1/2 (50%) | Dogs: 1/2 (50%)");
    browser.quit().await;
}
