//! The picture of a load: where the requests go, live.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;
use voting_tests::browser::Browser;
use voting_tests::browser::Engine::{self, Chromium, Firefox, WebKit};
use voting_tests::deployment::Deployment;
use voting_tests::http::Visitor;
use voting_tests::process::{Local, Voters};
use voting_tests::{PATIENCE, eventually};

use crate::accessibility::is_accessible;
use crate::layout::overhang;

const OF_1_0: &str = "#lanes .release-1";
const OF_2_0: &str = "#lanes .release-2";

/// The picture of step 3, with both releases.
async fn picture(engine: Engine, arguments: &[&str]) -> (Browser, Local, TempDir) {
    let data = tempfile::tempdir().unwrap();
    let local = Local::start(data.path(), arguments).await;
    let browser = Browser::of(engine).await;
    browser.open(&format!("{}/split", local.url)).await;
    for lane in [OF_1_0, OF_2_0] {
        browser.wait_for(&format!("{lane} .share"), "%").await;
    }
    (browser, local, data)
}

/// A cell of the table.
fn cell(line: &str, column: usize) -> String {
    let place = [
        "Share of the answers",
        "Answers per second",
        "Errors",
        "Latency, half of the answers",
        "Latency, 99% of the answers",
        "Warnings",
        "Votes accepted",
        "Votes refused",
        "Votes in doubt",
        "Votes lost",
        "Votes doubled, or of others",
        "Pages read",
        "Stale pages",
    ];
    let row = place.iter().position(|name| *name == line).unwrap();
    // The row of a group's title comes first, also before that of the second group.
    let (group, row) = if row < 6 { (1, row + 2) } else { (2, row - 4) };
    format!("tbody:nth-of-type({group}) tr:nth-child({row}) td:nth-of-type({column})")
}

/// Waits until a script returns true.
async fn until(browser: &Browser, what: &str, script: &str, arguments: Value) {
    let start = Instant::now();
    while browser.script(script, arguments.clone()).await != true {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn number(browser: &Browser, selector: &str) -> f64 {
    let text = browser.text(selector).await;
    text.trim_start_matches(['<', '>']).trim_end_matches('%').parse().unwrap_or(-1.0)
}

/// Waits until the number in an element is at least this one.
async fn at_least(browser: &Browser, selector: &str, least: f64) {
    let start = Instant::now();
    while number(browser, selector).await < least {
        assert!(
            start.elapsed() < PATIENCE,
            "{selector}: {:?} is below {least}",
            browser.text(selector).await
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether the strip of a lane has something in the color of an element. On a copy of the picture: Chromium warns of repeated
/// reads of a canvas.
const DRAWN: &str = "const [lane, colored, canvas] = [...arguments, 'canvas'].map((it) => document.querySelector(it));
    const all = canvas.getBoundingClientRect(), strip = lane.firstElementChild.getBoundingClientRect();
    const color = getComputedStyle(colored).color.match(/\\d+/g).map(Number);
    const copy = Object.assign(document.createElement('canvas'), { width: strip.width, height: strip.height });
    const ink = copy.getContext('2d', { willReadFrequently: true });
    // Right of the ways to the lane.
    ink.drawImage(canvas, all.x - strip.x - 8, all.y - strip.y);
    const { data } = ink.getImageData(0, 0, copy.width, copy.height);
    for (let i = 0; i < data.length; i += 4)
        if (data[i + 3] > 200 && color.every((part, at) => Math.abs(data[i + at] - part) < 12)) return true;
    return false";

#[rstest]
#[tokio::test]
async fn each_release_has_a_lane_with_its_dots_and_a_column_with_the_same_facts(
    #[values(Chromium, Firefox, WebKit)] engine: Engine,
) {
    let (browser, local, _data) = picture(engine, &[]).await;
    let heads = "return [...document.querySelectorAll('thead th')].map((it) => it.innerText)";
    assert_eq!(browser.script(heads, json!([])).await, json!(["voting-app", "1.0", "2.0"]));
    // A fifth of the voters has the flag, and all take turns.
    at_least(&browser, &cell("Pages read", 1), 30.0).await;
    for (lane, column, range) in [(OF_1_0, 1, 60.0..=95.0), (OF_2_0, 2, 5.0..=40.0)] {
        let share = number(&browser, &format!("{lane} .share")).await;
        assert!(range.contains(&share), "{lane}: {share}%");
        let share = number(&browser, &cell("Share of the answers", column)).await;
        assert!(range.contains(&share), "{lane}: {share}%");
        assert_eq!(browser.text(&cell("Errors", column)).await, "0%");
        assert_eq!(browser.text(&cell("Votes accepted", column)).await, "–", "nobody votes");
    }
    // Dots of the lane's color in its strip, right of the ways to it.
    for lane in [OF_1_0, OF_2_0] {
        until(&browser, "a dot", DRAWN, json!([lane, lane])).await;
    }
    assert_eq!(Visitor::new(&local.url).results().await, "Cats: 0/0 (0%) | Dogs: 0/0 (0%)");
    browser.end().await;
}

#[rstest]
#[tokio::test]
async fn the_slider_the_burst_and_the_switch_change_the_load(
    #[values(Chromium, Firefox, WebKit)] engine: Engine,
) {
    let (browser, local, _data) = picture(engine, &[]).await;
    browser.wait_for("#state", "10 page views a second").await;
    browser.script("document.getElementById('rate').focus()", json!([])).await;
    // Home: the keys of a slider are those of the browser.
    browser.press("\u{e011}").await;
    browser.wait_for("#state", "The load is at rest").await;
    // All answers of the rate are in, before those of the burst.
    browser.wait_for(&cell("Answers per second", 1), "0.0").await;
    browser.wait_for(&cell("Answers per second", 2), "0.0").await;
    let sum = "return [...document.querySelectorAll('tbody:nth-of-type(2) tr:nth-child(7) td')]
        .reduce((sum, it) => sum + Number(it.innerText), 0)";
    let before = browser.script(sum, json!([])).await.as_u64().unwrap();
    browser.click("[name=burst]").await;
    let grown =
        format!("{} === arguments[0] + 50", sum.replace("return ", "return (").replace(", 0)", ", 0))"));
    until(&browser, "50 answers", &grown, json!([before])).await;

    browser.click("[role=switch]").await;
    browser.wait_for("#votes-text", "These votes count in your poll").await;
    assert_eq!(browser.attribute("[role=switch]", "aria-checked").await.as_deref(), Some("true"));
    // End: the highest rate.
    browser.script("document.getElementById('rate').focus()", json!([])).await;
    browser.press("\u{e010}").await;
    browser.wait_for("#state", "200 votes a second").await;
    at_least(&browser, &cell("Votes accepted", 1), 20.0).await;
    for line in ["Votes lost", "Votes doubled, or of others", "Stale pages"] {
        assert_eq!(browser.text(&cell(line, 1)).await, "0", "{line}");
    }
    assert!(!Visitor::new(&local.url).results().await.starts_with("Cats: 0/"));
    browser.end().await;
}

/// The load's own page, of a release with these faults.
async fn bad_release(faults: &str) -> (Browser, Voters, Deployment, TempDir) {
    let data = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}/votes.db", data.path().display());
    let deployment = Deployment::start("2.0", "2.0", &store, &[("FAULTS", faults)]).await;
    let voters = Voters::start(&deployment.app.url(""), &[("RATE", "30"), ("PATIENCE", "60")]).await;
    let browser = Browser::start().await;
    // The address without a path leads to the picture.
    browser.open(&voters.url).await;
    (browser, voters, deployment, data)
}

#[tokio::test]
async fn a_release_that_fails_is_seen_at_once() {
    let (browser, _voters, _deployment, _data) = bad_release("error=20%,seed=1").await;
    browser.wait_for(&format!("{OF_2_0} .warning"), "bad release: error").await;
    at_least(&browser, &format!("{OF_2_0}.has-errors .errors"), 10.0).await;
    // The first answers alone may have a much higher or lower share.
    let errors = cell("Errors", 1);
    let is_about_20 = async || (10.0..40.0).contains(&number(&browser, &errors).await);
    eventually("about 20% of errors", PATIENCE, is_about_20).await;
    // A cross in the color of failures.
    until(&browser, "a cross", DRAWN, json!([OF_2_0, "figcaption .failed"])).await;
    assert_eq!(browser.text(&cell("Warnings", 1)).await, "bad release: error");
    browser.end().await;
}

#[tokio::test]
async fn a_release_that_loses_votes_without_an_error_is_seen_as_well() {
    let (browser, _voters, _deployment, _data) = bad_release("lose=50%,seed=1").await;
    browser.wait_for(&format!("{OF_2_0} .warning"), "votes lost: ").await;
    at_least(&browser, &cell("Votes lost", 1), 10.0).await;
    assert_eq!(browser.text(&cell("Errors", 1)).await, "0%");
    browser.end().await;
}

#[tokio::test]
async fn a_load_that_has_ended_is_said_and_the_facts_stay() {
    let (browser, voters, _deployment, _data) = bad_release("latency=1ms").await;
    at_least(&browser, &cell("Votes accepted", 1), 10.0).await;
    voters.end(voting_tests::process::Signal::Kill).await;
    browser.wait_for("#connection", "No answer from the load").await;
    assert!(number(&browser, &cell("Votes accepted", 1)).await >= 10.0);
    // The console has the refused connections.
    browser.quit().await;
}

#[tokio::test]
async fn without_scripts_the_table_reloads_itself_until_it_is_stopped() {
    let data = tempfile::tempdir().unwrap();
    let local = Local::start(data.path(), &[]).await;
    let browser = Browser::start().await;
    browser.without_scripts().await;
    browser.open(&format!("{}/split", local.url)).await;
    let is_shown = "return document.querySelector('figure').checkVisibility()";
    assert_eq!(browser.script(is_shown, json!([])).await, false, "a picture without its script");
    at_least(&browser, &cell("Pages read", 1), 30.0).await;
    browser.follow("a[href='split?still']").await;
    assert!(browser.attribute("meta[http-equiv=refresh]", "content").await.is_none());
    browser.follow("[name=burst]").await;
    assert!(browser.address().await.ends_with("/split?still"));
    browser.follow("[role=switch]").await;
    assert_eq!(browser.attribute("[role=switch]", "aria-checked").await.as_deref(), Some("true"));
    assert_eq!(browser.text("#state").await, "10 votes a second");
    browser.end().await;
}

/// Whether the picture changes within a moment in which no answer comes.
const MOVES: &str = "const canvas = document.querySelector('canvas');
    const before = canvas.toDataURL();
    return new Promise((done) => setTimeout(() => done(canvas.toDataURL() !== before), 300))";

#[tokio::test]
async fn dots_stand_still_with_reduced_motion_and_while_the_picture_is_paused() {
    let (browser, local, _data) = picture(Chromium, &[]).await;
    until(&browser, "a moving dot", MOVES, json!([])).await;
    browser.click("#pause").await;
    assert_eq!(browser.script(MOVES, json!([])).await, false);
    assert_eq!(browser.text("#pause").await, "Continue");
    browser.click("#pause").await;
    until(&browser, "a moving dot", MOVES, json!([])).await;

    browser.prefer(&[("prefers-reduced-motion", "reduce")]).await;
    let visitor = Visitor::new(&local.url);
    visitor.post("/split/load", "rate=0").await;
    visitor.post("/split/load", "burst=1").await;
    let rests = "return document.getElementById('state').innerText.includes('at rest')";
    until(&browser, "rest", rests, json!([])).await;
    // Dots come with the next look, and go ten seconds later, so most moments are without a change.
    let start = Instant::now();
    while browser.script(MOVES, json!([])).await == true {
        assert!(start.elapsed() < PATIENCE, "the dots move");
    }
    browser.end().await;
}

#[tokio::test]
async fn the_picture_is_accessible_and_fits_into_every_window() {
    let (browser, _local, _data) = picture(Chromium, &["--faults", "error=50%"]).await;
    browser.wait_for(&format!("{OF_2_0} .warning"), "bad release: error").await;
    is_accessible(&browser, "the picture").await;
    for width in [320, 390, 768, 1280, 1920] {
        browser.resize(width, 720).await;
        assert_eq!(overhang(&browser).await, 0, "{width}");
    }
    browser.resize(320, 700).await;
    is_accessible(&browser, "the picture on a phone").await;
    browser.resize(1280, 720).await;
    browser.devtools("Page.setFontSizes", json!({ "fontSizes": { "standard": 32 } })).await;
    assert_eq!(overhang(&browser).await, 0, "text of double size");
    browser.end().await;
}

#[tokio::test]
async fn the_picture_has_the_colors_of_the_system_where_those_are_forced() {
    let (browser, _local, _data) = picture(Chromium, &[]).await;
    browser.prefer(&[("forced-colors", "active")]).await;
    let colors = "const color = (css) => { const it = document.body.appendChild(document.createElement('i'));
        it.style.color = css; const found = getComputedStyle(it).color; it.remove(); return found };
        const of = (it) => getComputedStyle(document.querySelector(it)).color;
        return [of('#lanes .release-1 .share') === color('CanvasText'), of('#lanes .release-2 .share') === color('LinkText')]";
    assert_eq!(browser.script(colors, json!([])).await, json!([true, true]));
    browser.end().await;
}

#[tokio::test]
async fn a_screen_reader_hears_of_a_release_that_turns_bad() {
    let (browser, _local, _data) = picture(Chromium, &["--faults", "error=50%"]).await;
    browser.wait_for("#announcement", "2.0: about ").await;
    browser.wait_for("#announcement", "with errors. bad release: error").await;
    browser.wait_for("#announcement", "1.0: about ").await;
    let roles = browser.devtools("Accessibility.getFullAXTree", json!({})).await;
    let nodes = roles["nodes"].as_array().unwrap();
    let has = |role: &str, name: &str| {
        nodes.iter().any(|node| {
            let is =
                |key: &str, text: &str| node[key]["value"].as_str().is_some_and(|it| it.starts_with(text));
            node["ignored"] == false && is("role", role) && is("name", name)
        })
    };
    for (role, name) in [
        ("heading", "Where the requests go"),
        ("slider", "Rate"),
        ("button", "Burst of 50"),
        ("switch", "Vote as well"),
        ("button", "Pause"),
        ("image", "Each answer is a dot"),
        ("table", "Answers and votes by the release"),
        ("columnheader", "2.0"),
        ("rowheader", "Votes lost"),
    ] {
        assert!(has(role, name), "no {role} {name:?}");
    }
    browser.end().await;
}
