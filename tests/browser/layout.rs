//! The page fits into its window with any content.

use rstest::rstest;
use serde_json::json;
use voting_tests::browser::Browser;
use voting_tests::browser::Engine::{self, Chromium, Firefox, WebKit};

use crate::visit;

/// Horizontal scroll distance in CSS pixels.
pub(crate) async fn overhang(browser: &Browser) -> i64 {
    let script = "const it = document.documentElement; return it.scrollWidth - it.clientWidth";
    browser.script(script, json!([])).await.as_i64().unwrap()
}

#[rstest]
#[tokio::test]
async fn no_name_causes_horizontal_scrolling(#[values(Chromium, Firefox, WebKit)] engine: Engine) {
    let title = "Which of these very many animals do you like best in all of the world?";
    let long = "W".repeat(60);
    let words = "A choice of sixty characters in words, as a committee writes".to_owned();
    for (first, second) in
        [("Cats", "Dogs"), (&long, &words), ("القطط الصغيرة", "😺🐶👩‍👩‍👧‍👦🏳️‍🌈"), ("<b>it's & \"x\"</b>", "x")]
    {
        let (browser, local, _data) =
            visit(engine, &["--title", title, "--vote1value", first, "--vote2value", second]).await;
        browser.follow(".choice button").await;
        assert!(browser.text(".notice").await.contains(first), "{first}");
        assert!(browser.text("#results").await.contains(&format!("{first}: 1/1 (100%)")), "{first}");
        for path in ["/", "/elsewhere"] {
            browser.open(&format!("{}{path}", local.url)).await;
            for width in [320, 390, 768, 1280, 1920].into_iter().filter(|width| *width >= engine.narrowest())
            {
                browser.resize(width, 800).await;
                assert_eq!(overhang(&browser).await, 0, "{path} with {first} at {width}");
            }
        }
        browser.quit().await;
    }
}

#[rstest]
#[tokio::test]
async fn text_of_double_size_fits(#[values(Chromium, Firefox)] engine: Engine) {
    let (browser, _local, _data) = visit(engine, &[]).await;
    let size = "return parseFloat(getComputedStyle(document.body).fontSize)";
    let before = browser.script(size, json!([])).await.as_f64().unwrap();
    browser.double_text().await;
    browser.reload().await;
    let after = browser.script(size, json!([])).await.as_f64().unwrap();
    assert!(after > 1.7 * before, "the text has {before}, then {after} pixels");
    assert_eq!(overhang(&browser).await, 0);
    let cut = "return [...document.querySelectorAll('body *')].filter((it) => it.clientWidth > 1 && it.scrollWidth > it.clientWidth + 1)
        .map((it) => it.outerHTML.slice(0, 80))";
    assert_eq!(browser.script(cut, json!([])).await, json!([]));
    browser.end().await;
}
