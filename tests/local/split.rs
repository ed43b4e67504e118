//! The picture at `/split`: its size, its protection, and a load that runs only while the page has a viewer.

use std::time::Duration;

use serde_json::Value;
use voting_tests::http::{Visitor, send};
use voting_tests::process::{Local, Voters};
use voting_tests::{PATIENCE, eventually};

use crate::folder;

async fn data(visitor: &Visitor, since: u64) -> Value {
    let answer = visitor.get(&format!("/split/data?since={since}")).await;
    serde_json::from_str(&answer.text).unwrap()
}

/// Number of answers so far.
async fn answers(visitor: &Visitor) -> u64 {
    data(visitor, 0).await["next"].as_u64().unwrap()
}

#[tokio::test]
async fn the_whole_page_has_less_than_30_kb() {
    let data = folder();
    let local = Local::start(data.path(), &[]).await;
    let visitor = Visitor::new(&local.url);
    let page = visitor.get("/split").await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let mut total = page.text.len();
    for (selector, attribute) in
        [("link[rel=stylesheet]", "href"), ("link[rel=icon]", "href"), ("script", "src")]
    {
        let url = page.attribute(selector, attribute).unwrap();
        let file = visitor.get(&format!("/{url}")).await;
        assert_eq!(file.status, 200, "{url}");
        assert!(file.header("cache-control").contains("immutable"), "{url}");
        total += file.text.len();
    }
    println!("/split: {total} bytes");
    assert!(total < 30_000, "{total} bytes");
    assert!(!page.text.contains(" style=") && !page.text.contains("<script>"), "inline code");
}

#[tokio::test]
async fn nothing_is_sent_before_somebody_looks_and_no_vote_before_somebody_says_so() {
    let data_dir = folder();
    let local = Local::start(data_dir.path(), &[]).await;
    let visitor = Visitor::new(&local.url);
    // Nobody watches: not even a burst is sent.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(answers(&visitor).await, 0);

    eventually("pages are viewed", PATIENCE, async || answers(&visitor).await > 20).await;
    let first = data(&visitor, 0).await;
    assert_eq!((first["votes"].as_bool(), first["rate"].as_u64()), (Some(false), Some(10)), "{first}");
    assert_eq!(visitor.results().await, "Cats: 0/0 (0%) | Dogs: 0/0 (0%)");

    assert_eq!(visitor.post("/split/load", "votes=on&rate=50").await.status, 303);
    eventually("votes are counted", PATIENCE, async || !visitor.results().await.starts_with("Cats: 0/"))
        .await;
    let names = |data: &Value| {
        let releases = data["releases"].as_array().unwrap().iter();
        releases.map(|release| release["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    eventually("both releases answer", PATIENCE, async || names(&data(&visitor, 0).await) == ["1.0", "2.0"])
        .await;
}

#[tokio::test]
async fn the_load_rests_while_nobody_looks() {
    let data_dir = folder();
    let local = Local::start(data_dir.path(), &[]).await;
    let visitor = Visitor::new(&local.url);
    visitor.post("/split/load", "rate=100").await;
    eventually("pages are viewed", PATIENCE, async || answers(&visitor).await > 20).await;
    // A look wakes the load, so there are few: it rests 15 seconds after one, and the shares are those of the last ten seconds.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(30)).await;
        // The server closes connections that were idle for 30 seconds: not under this request.
        let visitor = Visitor::new(&local.url);
        let releases = data(&visitor, 0).await["releases"].clone();
        if releases.as_array().unwrap().iter().all(|release| release["share"] == 0.0) {
            eventually("the load goes on", PATIENCE, async || {
                data(&visitor, 0).await["releases"][0]["share"] != 0.0
            })
            .await;
            return;
        }
    }
    panic!("the load never rests");
}

#[tokio::test]
async fn no_other_site_and_no_slip_changes_the_load() {
    let data_dir = folder();
    let local = Local::start(data_dir.path(), &[]).await;
    let voters = Voters::start(&local.url, &[("RATE", "5"), ("VOTERS", "2")]).await;
    for (url, is_local) in [(&local.url, true), (&voters.url, false)] {
        let visitor = Visitor::new(url);
        let form = "application/x-www-form-urlencoded";
        for (name, value) in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
            let request = visitor.request("POST", "/split/load").header("content-type", form);
            let answer = send(request.header(name, value).body("rate=100")).await;
            assert_eq!(answer.status, 403, "{name}: {}", answer.text);
        }
        let evil = visitor.request("POST", "/split/load").header("host", "evil.example");
        assert_eq!(send(evil.header("content-type", form).body("rate=100")).await.status, 421);
        assert_eq!(visitor.get("/split/load?rate=100").await.status, 405);
        for (body, allowed) in [
            ("rate=201", "The rate is a whole number from 0 to 200."),
            ("rate=-1", "from 0 to 200"),
            ("faults=error", "The fields are rate, burst and votes."),
        ] {
            let answer = visitor.post("/split/load", body).await;
            assert_eq!(answer.status, 422, "{body}: {}", answer.text);
            assert!(answer.text.contains(allowed), "{}", answer.text);
        }
        let expected = if is_local { 303 } else { 422 };
        assert_eq!(visitor.post("/split/load", "votes=off").await.status, expected, "{url}");
        let rate = data(&visitor, 0).await["rate"].clone();
        assert_eq!(rate, if is_local { 10 } else { 5 });
        assert_eq!(visitor.post("/split/load", "rate=7").await.status, 303);
        assert_eq!(data(&visitor, 0).await["rate"], 7);
    }
}
