//! Live updates of an open page.

use std::time::Duration;

use rstest::rstest;
use serde_json::json;
use voting_tests::browser::Engine::{self, Chromium, Firefox, WebKit};
use voting_tests::http::Visitor;

use crate::visit;

#[rstest]
#[tokio::test]
async fn the_releases_change_with_the_votes(#[values(Chromium, Firefox, WebKit)] engine: Engine) {
    // The results alternate between analytics 1.0 and 1.1.
    let (browser, _local, _data) = visit(engine, &["--step", "2"]).await;
    for _ in 0..2 {
        browser.wait_for("[data-release=analytics]", "1.0").await;
        browser.wait_for("#results", "Cats: 0 | Dogs: 0").await;
        browser.wait_for("[data-release=analytics]", "1.1").await;
        browser.wait_for("#results", "Cats: 0/0 (0%) | Dogs: 0/0 (0%)").await;
    }
    browser.end().await;
}

#[rstest]
#[tokio::test]
async fn a_screen_reader_announces_the_last_of_many_changes(
    #[values(Chromium, Firefox, WebKit)] engine: Engine,
) {
    let (browser, local, _data) = visit(engine, &[]).await;
    let listen = "const it = document.getElementById('announcement'); window.heard = [];
        new MutationObserver(() => window.heard.push(it.textContent)).observe(it, { childList: true })";
    browser.script(listen, json!([])).await;
    browser.wait_for("#connection", "Live").await;
    let voter = Visitor::new(&local.url);
    for _ in 0..3 {
        voter.vote("Dogs").await;
        tokio::time::sleep(Duration::from_millis(1000)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let heard = browser.script("return window.heard", json!([])).await;
    assert_eq!(heard, json!(["Cats: 0/3 (0%) | Dogs: 3/3 (100%)"]));
    browser.end().await;
}

#[rstest]
#[tokio::test]
async fn a_page_in_the_background_holds_no_connection(#[values(Chromium, Firefox, WebKit)] engine: Engine) {
    let (browser, local, _data) = visit(engine, &[]).await;
    browser.wait_for("#connection", "Live").await;
    let hide = "Object.defineProperty(document, 'hidden', { configurable: true, value: arguments[0] });
        document.dispatchEvent(new Event('visibilitychange'))";
    browser.script(hide, json!([true])).await;
    Visitor::new(&local.url).vote("Cats").await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(browser.text("#results").await, "Cats: 0/0 (0%) | Dogs: 0/0 (0%)");
    browser.script(hide, json!([false])).await;
    browser.wait_for("#results", "Cats: 1/1 (100%) | Dogs: 0/1 (0%)").await;
    browser.end().await;
}

#[rstest]
#[tokio::test]
async fn bars_are_not_animated_with_reduced_motion(#[values(Chromium, Firefox)] engine: Engine) {
    let (browser, local, _data) = visit(engine, &[]).await;
    browser.prefer(&[("prefers-reduced-motion", "reduce")]).await;
    browser.wait_for("#connection", "Live").await;
    Visitor::new(&local.url).vote("Cats").await;
    browser.wait_for("[data-count='0']", "1").await;
    let at_once = browser.screenshot().await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(at_once == browser.screenshot().await, "the bar was still on its way");
    browser.end().await;
}
