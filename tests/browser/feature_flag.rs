//! The switch in the footer of the page.

use rstest::rstest;
use voting_tests::browser::Engine::{self, Chromium, Firefox, WebKit};

use crate::{CATS, DOGS, visit};

#[rstest]
#[tokio::test]
async fn the_switch_moves_this_browser_to_2_0_and_back(#[values(Chromium, Firefox, WebKit)] engine: Engine) {
    let (browser, _local, _data) = visit(engine, &[]).await;
    browser.follow(CATS).await;
    assert_eq!(browser.text(".ribbon").await, "Release 1.0");
    assert_eq!(browser.attribute("[role=switch]", "aria-checked").await.unwrap(), "false");
    let band = "return getComputedStyle(document.querySelector('header')).backgroundColor";
    let old = browser.script(band, serde_json::json!([])).await;

    browser.follow("[role=switch]").await;
    assert_eq!(browser.text(".ribbon").await, "Release 2.0");
    assert_eq!(browser.attribute("[role=switch]", "aria-checked").await.unwrap(), "true");
    assert_ne!(browser.script(band, serde_json::json!([])).await, old, "2.0 looks like 1.0");
    assert_eq!(browser.text("#results").await, "Cats: 0/0 (0%) | Dogs: 0/0 (0%)");
    assert_eq!(browser.text("[data-release=storage]").await, "2.0");
    browser.follow(DOGS).await;
    assert_eq!(browser.text("#results").await, "Cats: 0/1 (0%) | Dogs: 1/1 (100%)");

    browser.follow("[role=switch]").await;
    assert_eq!(browser.text(".ribbon").await, "Release 1.0");
    assert_eq!(browser.text("#results").await, "Cats: 1/1 (100%) | Dogs: 0/1 (0%)");
    browser.end().await;
}
