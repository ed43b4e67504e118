//! Back, forward and reload neither cast a vote nor restore a used ballot.

use rstest::rstest;
use voting_tests::browser::Browser;
use voting_tests::browser::Engine::{self, Chromium, Firefox, WebKit};
use voting_tests::http::Visitor;
use voting_tests::{PATIENCE, eventually};

use crate::{CATS, DOGS, visit};

async fn ballot(browser: &Browser) -> String {
    browser.attribute("[name=ballot]", "value").await.unwrap()
}

#[rstest]
#[tokio::test]
async fn back_and_reload_cast_no_vote_and_the_next_click_does(
    #[values(Chromium, Firefox, WebKit)] engine: Engine,
) {
    let (browser, local, _data) = visit(engine, &[]).await;
    let counted = Visitor::new(&local.url);
    let mut used = vec![ballot(&browser).await];
    browser.follow(CATS).await;
    assert_eq!(counted.results().await, "Cats: 1/1 (100%) | Dogs: 0/1 (0%)");

    browser.reload().await;
    browser.open(&format!("{}/elsewhere", local.url)).await;
    browser.back().await;
    browser.reload().await;
    assert_eq!(counted.results().await, "Cats: 1/1 (100%) | Dogs: 0/1 (0%)", "no further vote");
    assert!(!used.contains(&ballot(&browser).await), "the ballot of the first vote is back");

    used.push(ballot(&browser).await);
    browser.follow(DOGS).await;
    browser.wait_for(".notice", "Your vote for Dogs was counted.").await;
    assert_eq!(counted.results().await, "Cats: 1/2 (50%) | Dogs: 1/2 (50%)");
    assert!(!used.contains(&ballot(&browser).await));
    let mut expected = browser.console().await;
    expected.retain(|message| !message.contains("404"));
    assert_eq!(expected, [""; 0]);
    browser.quit().await;
}

#[rstest]
#[tokio::test]
async fn a_page_from_the_back_forward_cache_gets_a_new_ballot(
    #[values(Chromium, Firefox, WebKit)] engine: Engine,
) {
    let (browser, _local, _data) = visit(engine, &[]).await;
    let before = ballot(&browser).await;
    let comes_back = "dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))";
    browser.script(comes_back, serde_json::json!([])).await;
    eventually("a new ballot", PATIENCE, || async { ballot(&browser).await != before }).await;
    browser.end().await;
}

#[rstest]
#[tokio::test]
async fn a_resubmitted_ballot_is_reported_and_changes_nothing(
    #[values(Chromium, Firefox, WebKit)] engine: Engine,
) {
    let (browser, local, _data) = visit(engine, &[]).await;
    let used = ballot(&browser).await;
    browser.follow(CATS).await;
    // Simulates a browser that restores form fields.
    browser
        .script("document.querySelector('[name=ballot]').value = arguments[0]", serde_json::json!([used]))
        .await;
    browser.follow(DOGS).await;
    browser.wait_for(".notice", "Your vote was already counted.").await;
    assert_eq!(Visitor::new(&local.url).results().await, "Cats: 1/1 (100%) | Dogs: 0/1 (0%)");
    browser.end().await;
}

/// Whether or not this engine keeps the page, which forbids it to be stored, going back shows a ballot that was not used.
#[rstest]
#[tokio::test]
async fn going_back_after_a_vote_offers_a_new_ballot(#[values(Chromium, Firefox, WebKit)] engine: Engine) {
    let (browser, local, _data) = visit(engine, &[]).await;
    let used = ballot(&browser).await;
    browser.follow(CATS).await;
    let next = ballot(&browser).await;
    browser.follow(DOGS).await;
    browser.open(&format!("{}/elsewhere", local.url)).await;
    browser.back().await;
    browser.wait_for("#connection", "Live").await;
    eventually("a new ballot", PATIENCE, || async { ![&used, &next].contains(&&ballot(&browser).await) })
        .await;
    browser.follow(DOGS).await;
    assert_eq!(Visitor::new(&local.url).results().await, "Cats: 1/3 (33%) | Dogs: 2/3 (67%)");
    browser.quit().await;
}
