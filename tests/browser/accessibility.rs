//! WCAG 2.2 AA: the rules of axe-core, and rules that it does not check.

use rstest::rstest;
use serde_json::{Value, json};
use voting_tests::browser::Engine::{self, Chromium, Firefox, WebKit};
use voting_tests::browser::{Browser, axe};
use voting_tests::deployment::Deployment;
use voting_tests::process::Local;

use crate::{CATS, visit};

/// Violations of rules, and contrasts that could not be computed.
async fn findings(browser: &Browser) -> Value {
    browser.script(&axe(), json!([])).await;
    let run = "return axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
        .then(({ violations, incomplete }) => [...violations, ...incomplete]
            .flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`)))";
    browser.script(run, json!([])).await
}

/// Checks both color schemes: no violations, one `h1`, and controls of at least 44 pixels.
pub(crate) async fn is_accessible(browser: &Browser, what: &str) {
    let schemes: &[&str] = if browser.engine() == WebKit { &["its own"] } else { &["light", "dark"] };
    for scheme in schemes {
        if browser.engine() != WebKit {
            browser.prefer(&[("prefers-color-scheme", scheme)]).await;
        }
        assert_eq!(findings(browser).await, json!([]), "{what}, {scheme}");
    }
    let small =
        "return [...document.querySelectorAll('button, a, summary')].filter((it) => it.checkVisibility())
        .map((it) => [it.innerText, it.getBoundingClientRect()])
        .filter(([, { width, height }]) => width < 44 || height < 44)";
    assert_eq!(browser.script(small, json!([])).await, json!([]), "{what}");
    assert_eq!(browser.script("return document.querySelectorAll('h1').length", json!([])).await, 1, "{what}");
}

#[rstest]
#[tokio::test]
async fn the_page_of_each_release(#[values(Chromium, Firefox, WebKit)] engine: Engine) {
    let (browser, _local, _data) = visit(engine, &[]).await;
    is_accessible(&browser, "1.0").await;
    browser.click("summary").await;
    is_accessible(&browser, "1.0 before a reset").await;
    browser.follow(CATS).await;
    is_accessible(&browser, "1.0 after a vote").await;
    browser.follow("[role=switch]").await;
    browser.follow(CATS).await;
    is_accessible(&browser, "2.0 after a vote").await;
    browser.resize(engine.narrowest(), 700).await;
    is_accessible(&browser, "2.0 on a phone").await;
    browser.end().await;
}

#[rstest]
#[tokio::test]
async fn error_pages_are_accessible(#[values(Chromium, Firefox, WebKit)] engine: Engine) {
    let dead = format!("redis://127.0.0.1:{}", voting_tests::free_port());
    for release in ["1.0", "2.0"] {
        let deployment = Deployment::start(release, release, &dead, &[("SHOWDETAILS", "true")]).await;
        let browser = Browser::of(engine).await;
        browser.open(&deployment.app.url("/elsewhere")).await;
        is_accessible(&browser, "404").await;
        browser.follow("a").await;
        is_accessible(&browser, "without votes").await;
        browser.follow(CATS).await;
        assert_eq!(browser.text(".status").await, "503");
        is_accessible(&browser, "503").await;
        browser.quit().await;
    }
}

#[tokio::test]
async fn controls_have_a_name_a_role_and_a_state() {
    let data = tempfile::tempdir().unwrap();
    let local = Local::start(data.path(), &[]).await;
    let browser = Browser::start().await;
    browser.open(&local.url).await;
    let tree = browser.devtools("Accessibility.getFullAXTree", json!({})).await;
    let nodes: Vec<_> =
        tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] == false).collect();
    let has = |role: &str, name: &str| {
        nodes.iter().any(|node| node["role"]["value"] == role && node["name"]["value"] == name)
    };
    for (role, name) in [
        ("heading", "Azure Voting App"),
        ("button", "Vote for Cats"),
        ("button", "Vote for Dogs"),
        ("progressbar", "Share of Cats"),
        ("progressbar", "Share of Dogs"),
        ("region", "Votes so far"),
        ("switch", "Feature flag"),
    ] {
        assert!(has(role, name), "no {role} {name:?} in {nodes:#?}");
    }
    for role in ["banner", "main", "contentinfo"] {
        assert_eq!(nodes.iter().filter(|node| node["role"]["value"] == role).count(), 1, "{role}");
    }
    browser.end().await;
}

#[rstest]
#[tokio::test]
async fn controls_and_results_are_visible_in_forced_colors(#[values(Chromium, Firefox)] engine: Engine) {
    let (browser, _local, _data) = visit(engine, &[]).await;
    browser.prefer(&[("forced-colors", "active")]).await;
    browser.follow(CATS).await;
    let forced = "return matchMedia('(forced-colors: active)').matches";
    assert_eq!(browser.script(forced, json!([])).await, true);
    // Whatever the colors of the system are, these differ: borders from the page, the switch that is on from the one that is off.
    let style = "const [selector, pseudo] = arguments; const it = getComputedStyle(document.querySelector(selector), pseudo);
        return { edge: it.borderTopColor, width: parseFloat(it.borderTopWidth), fill: it.backgroundColor };";
    let page = browser.script(style, json!(["body", null])).await;
    for control in [CATS, "progress", ".danger"] {
        let it = browser.script(style, json!([control, null])).await;
        assert_ne!(it["edge"], page["fill"], "{control}: {it}");
        assert!(it["width"].as_f64().unwrap() >= 1.0, "{control}: {it}");
    }
    let off = browser.script(style, json!(["[role=switch]", "::before"])).await;
    browser.follow("[role=switch]").await;
    let on = browser.script(style, json!(["[role=switch]", "::before"])).await;
    assert_ne!(off["fill"], on["fill"], "off {off}, on {on}");
    browser.end().await;
}
