//! Voting with a mouse, with a keyboard, and without scripts.

use std::time::Duration;

use rstest::rstest;
use serde_json::json;
use voting_tests::browser::Browser;
use voting_tests::browser::Engine::{self, Chromium, Firefox, WebKit};
use voting_tests::deployment::Deployment;
use voting_tests::http::Visitor;
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::Redis;

use crate::{CATS, DOGS, visit};

#[rstest]
#[tokio::test]
async fn a_vote_is_counted_confirmed_and_shown_live_in_a_second_window(
    #[values(Chromium, Firefox, WebKit)] engine: Engine,
) {
    let (browser, local, _data) = visit(engine, &[]).await;
    let other = Browser::of(engine).await;
    other.open(&local.url).await;
    other.wait_for("#connection", "Live").await;

    browser.follow(CATS).await;
    assert_eq!(browser.text(".notice").await, "Your vote for Cats was counted.");
    assert_eq!(browser.text("#results").await, "Cats: 1/1 (100%) | Dogs: 0/1 (0%)");
    assert_eq!(browser.text("[data-count='0']").await, "1");

    other.wait_for("#results", "Cats: 1/1 (100%) | Dogs: 0/1 (0%)").await;
    assert_eq!(other.text("[data-count='0']").await, "1");
    let bar = "const bar = document.querySelector('[data-bar=\"0\"]'); return bar.value / bar.max";
    assert_eq!(other.script(bar, json!([])).await, 1);

    browser.reload().await;
    assert_eq!(browser.text(".notice").await, "", "it is told once");
    browser.end().await;
    other.end().await;
}

#[rstest]
#[tokio::test]
async fn a_double_click_sends_one_vote_and_counts_once(#[values(Chromium, Firefox, WebKit)] engine: Engine) {
    let redis = Redis::database().await;
    let proxy = Proxy::start(redis.address(), Mode::Open).await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url_at(proxy.address()), &[]).await;
    // Opens the app's connection to the store.
    deployment.visitor().vote("Cats").await;
    let browser = Browser::of(engine).await;
    browser.open(&deployment.app.url("/")).await;
    // The second click happens while the first request is in flight.
    proxy.set(Mode::Silent);
    let twice = "const button = document.querySelector(arguments[0]);
        for (const when of [100, 200]) setTimeout(() => button.click(), when)";
    browser.script(twice, json!([DOGS])).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    proxy.set(Mode::Open);
    browser.wait_for(".notice", "Your vote for Dogs was counted.").await;
    assert_eq!(deployment.visitor().results().await, "Cats: 1/2 (50%) | Dogs: 1/2 (50%)");
    browser.end().await;
}

#[rstest]
#[tokio::test]
async fn voting_works_with_a_keyboard(#[values(Chromium, Firefox, WebKit)] engine: Engine) {
    let (browser, local, _data) = visit(engine, &[]).await;
    let focused = async |browser: &Browser| {
        let text = "const it = document.activeElement; return it.innerText.replace(/\\s+/g, ' ')";
        browser.script(text, json!([])).await.as_str().unwrap().to_owned()
    };
    let (tab, enter, space) = ("\u{e004}", "\u{e007}", "\u{e00d}");
    for name in ["Vote for Cats", "Vote for Dogs", "Feature flag", "Reset the poll"] {
        browser.press(tab).await;
        assert_eq!(focused(&browser).await, name);
        let ring = "return getComputedStyle(document.activeElement).outlineWidth";
        assert_eq!(browser.script(ring, json!([])).await, "3px", "{name}");
    }

    browser.reload().await;
    browser.press(tab).await;
    browser.press(tab).await;
    browser.press(enter).await;
    browser.wait_for("#results", "Cats: 0/1 (0%) | Dogs: 1/1 (100%)").await;

    for _ in 0..3 {
        browser.press(tab).await;
    }
    browser.press(space).await;
    browser.wait_for(".ribbon", "Release 2.0").await;
    for _ in 0..4 {
        browser.press(tab).await;
    }
    browser.press(enter).await;
    browser.press(tab).await;
    assert_eq!(focused(&browser).await, "Delete all votes");
    browser.press(enter).await;
    browser.wait_for(".notice", "All votes were deleted.").await;
    assert_eq!(Visitor::new(&local.url).results().await, "Cats: 0/1 (0%) | Dogs: 1/1 (100%)");
    browser.end().await;
}

#[tokio::test]
async fn everything_works_without_scripts() {
    let (browser, _local, _data) = visit(Chromium, &[]).await;
    browser.without_scripts().await;
    browser.reload().await;
    assert_eq!(browser.text("#connection").await, "", "scripts run");

    browser.follow(CATS).await;
    browser.wait_for(".notice", "Your vote for Cats was counted.").await;
    assert_eq!(browser.text("#results").await, "Cats: 1/1 (100%) | Dogs: 0/1 (0%)");

    browser.follow("[role=switch]").await;
    browser.wait_for(".ribbon", "Release 2.0").await;
    browser.follow("[role=switch]").await;
    browser.wait_for(".ribbon", "Release 1.0").await;

    browser.click("summary").await;
    browser.follow("button[value=reset]").await;
    browser.wait_for(".notice", "All votes were deleted.").await;
    assert_eq!(browser.text("#results").await, "Cats: 0/0 (0%) | Dogs: 0/0 (0%)");
    browser.end().await;
}
