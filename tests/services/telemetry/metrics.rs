//! Metrics of the operator's port.

use voting_tests::http::{Visitor, send};
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::Redis;
use voting_tests::{PATIENCE, eventually};

use super::start;

/// The value of a series with this name and these labels.
fn value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

/// A metric of voting-app 1.0 with these additional labels.
fn series(name: &str, labels: &str) -> String {
    format!("{name}{{component=\"voting-app\",release=\"1.0\"{labels}}}")
}

fn votes(choice: &str, outcome: &str) -> String {
    series("voting_votes_total", &format!(",choice=\"{choice}\",outcome=\"{outcome}\""))
}

#[tokio::test]
async fn all_series_of_votes_and_of_the_log_exist_from_the_start() {
    let redis = Redis::database().await;
    let (app, _analytics) = start(&redis.url(), &[], None).await;
    let metrics = Visitor::new(app.admin_url("")).get("/metrics").await.text;
    for outcome in ["counted", "already-counted", "refused", "unconfirmed"] {
        assert_eq!(value(&metrics, &votes("Cats", outcome)), Some(0.0), "{metrics}");
    }
    assert_eq!(value(&metrics, &series("voting_log_dropped_lines_total", "")), Some(0.0), "{metrics}");
}

#[tokio::test]
async fn votes_requests_and_store_calls_are_counted() {
    let redis = Redis::database().await;
    let (app, _analytics) = start(&redis.url(), &[], None).await;
    let visitor = Visitor::new(app.url(""));
    let form = format!("vote=Cats&ballot={}", visitor.get("/").await.ballot());
    visitor.post("/", &form).await;
    visitor.post("/", &form).await;
    visitor.vote("Dogs").await;
    visitor.post("/", "vote=Birds").await;

    // Two for votes, of which the second one is made beside the first vote, and one for reads.
    eventually("three connections to the store", PATIENCE, async || {
        let metrics = Visitor::new(app.admin_url("")).get("/metrics").await.text;
        value(&metrics, &series("voting_store_connections", "")) == Some(3.0)
    })
    .await;
    let metrics = Visitor::new(app.admin_url("")).get("/metrics").await.text;
    let requests = |status: u16| {
        let labels = format!(",method=\"POST\",route=\"/\",status=\"{status}\"");
        series("http_request_duration_seconds_count", &labels)
    };
    let calls = ",operation=\"cast\",outcome=\"ok\"";
    for (series, expected) in [
        (votes("Cats", "counted"), 1.0),
        (votes("Cats", "already-counted"), 1.0),
        (votes("Dogs", "counted"), 1.0),
        (votes("", "invalid"), 1.0),
        (series("voting_tally_votes", ",choice=\"Cats\""), 1.0),
        (series("voting_tally_votes", ",choice=\"Dogs\""), 1.0),
        (series("voting_store_waiting", ",operation=\"cast\""), 0.0),
        (series("voting_store_call_duration_seconds_count", calls), 3.0),
        (series("voting_store_group_size_sum", ",operation=\"cast\""), 3.0),
        (requests(303), 3.0),
        (requests(422), 1.0),
    ] {
        assert_eq!(value(&metrics, &series), Some(expected), "{series}\n{metrics}");
    }
}

#[tokio::test]
async fn viewers_are_counted_while_they_are_connected() {
    let redis = Redis::database().await;
    let (app, _analytics) = start(&redis.url(), &[], None).await;
    let admin = Visitor::new(app.admin_url(""));
    let viewers = async || value(&admin.get("/metrics").await.text, &series("voting_viewers", ""));
    let viewer = Visitor::new(app.url("")).request("GET", "/events").send().await.unwrap();
    assert_eq!(viewers().await, Some(1.0));
    drop(viewer);
    eventually("the viewer is no longer counted", PATIENCE, async || viewers().await == Some(0.0)).await;
}

#[tokio::test]
async fn failures_of_store_and_analytics_are_counted() {
    let redis = Redis::database().await;
    let proxy = Proxy::start(redis.address(), Mode::Open).await;
    let (app, analytics) = start(&redis.url_at(proxy.address()), &[], None).await;
    let visitor = Visitor::new(app.url(""));
    visitor.vote("Dogs").await;

    proxy.set(Mode::Closed);
    drop(analytics);
    let answer = visitor.post("/", "vote=Dogs").await;
    assert_eq!(answer.status, 503);
    visitor.get("/").await;
    let metrics = Visitor::new(app.admin_url("")).get("/metrics").await.text;
    // Unconfirmed if the connection was closed during the vote.
    let outcome = answer.header("x-vote-outcome");
    assert!(["refused", "unconfirmed"].contains(&outcome), "{outcome}");
    assert_eq!(value(&metrics, &votes("Dogs", outcome)), Some(1.0), "{metrics}");
    let failed = series("voting_analytics_call_duration_seconds_count", ",outcome=\"failed\"");
    assert!(value(&metrics, &failed) >= Some(1.0), "{metrics}");
    let unavailable = ",operation=\"connect\",outcome=\"unavailable\"";
    let unavailable = series("voting_store_call_duration_seconds_count", unavailable);
    assert!(value(&metrics, &unavailable) >= Some(1.0), "{metrics}");
    assert!(!metrics.contains("voting_tally_votes{"), "an old tally is shown:\n{metrics}");
    assert_eq!(value(&metrics, &series("voting_store_connections", "")), Some(0.0), "{metrics}");
}

#[tokio::test]
async fn invented_paths_and_methods_create_no_series() {
    let redis = Redis::database().await;
    let (app, _analytics) = start(&redis.url(), &[], None).await;
    let visitor = Visitor::new(app.url(""));
    let series = async || {
        let metrics = Visitor::new(app.admin_url("")).get("/metrics").await.text;
        metrics.lines().filter(|line| line.contains("route=") && line.contains("_count")).count()
    };
    visitor.get("/made-up").await;
    send(visitor.request("BREW", "/made-up")).await;
    let before = series().await;
    for number in 0..20 {
        visitor.get(&format!("/made-up-{number}?x={number}")).await;
        send(visitor.request(&format!("BREW{number}"), "/made-up")).await;
        visitor.get(&format!("/assets/{number}/x")).await;
        visitor.post(&format!("/featureflag/{number}"), "").await;
        visitor.post("/", format!("vote=Birds{number}")).await;
    }
    // The last three routes of the loop are known ones.
    assert_eq!(series().await, before + 3);
}
