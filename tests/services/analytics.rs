//! The HTTP contract of voting-analytics.

use std::time::Duration;

use serde_json::{Value, json};
use voting_tests::http::Visitor;
use voting_tests::process::Service;
use voting_tests::servers::{MySql, Redis};
use voting_tests::{ClosedPort, Stopwatch};

async fn release(release: &str, store: &str) -> (Visitor, Service) {
    let service = Service::start("voting-analytics", &[("RELEASE", release), ("STORAGE_URL", store)]).await;
    (Visitor::new(service.url("")), service)
}

async fn json_of(analytics: &Visitor) -> Value {
    let answer = analytics.get_served("/analytics").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    serde_json::from_str(&answer.text).unwrap()
}

#[tokio::test]
async fn the_json_has_the_format_of_the_original() {
    let redis = Redis::database().await;
    redis.query::<()>("MSET", &["Cats", "2", "Dogs", "4"]).await;
    for (version, text) in [("1.0", "Cats: 2 | Dogs: 4"), ("1.1", "Cats: 2/6 (33%) | Dogs: 4/6 (67%)")] {
        let (analytics, _service) = release(version, &redis.url()).await;
        let expected = json!({"category1": {"name": "Cats", "count": 2}, "category2": {"name": "Dogs", "count": 4}, "text": text});
        assert_eq!(json_of(&analytics).await, expected);
        let path = analytics.get_served("/analytics").await.header("x-voting-path").to_owned();
        assert_eq!(path, format!("analytics={version}, storage=1.0"));
    }
}

#[tokio::test]
async fn an_empty_mysql_gives_zeros() {
    let mysql = MySql::database().await;
    let (analytics, _service) = release("2.0", &mysql.url()).await;
    assert_eq!(json_of(&analytics).await["text"], "Cats: 0/0 (0%) | Dogs: 0/0 (0%)");
}

#[tokio::test]
async fn errors_name_the_allowed_paths_and_methods() {
    let redis = Redis::database().await;
    let (analytics, _service) = release("1.0", &redis.url()).await;
    let nothing = analytics.get("/").await;
    assert_eq!(nothing.status, 404);
    assert!(nothing.text.contains("GET /analytics"), "{}", nothing.text);
    let posted = analytics.post("/analytics", "x").await;
    assert_eq!((posted.status, posted.header("allow")), (405, "GET,HEAD"));
}

#[tokio::test]
async fn an_unreachable_store_is_reported_in_time() {
    let down = ClosedPort::reserve();
    let store = format!("redis://{}", down.address());
    let (analytics, service) = release("1.0", &store).await;
    let stopwatch = Stopwatch::start();
    let answer = analytics.get("/analytics").await;
    stopwatch.assert_within(Duration::from_secs(1), "a read without a store");
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert!(answer.text.contains("store"), "{}", answer.text);
    assert_eq!(Visitor::new(service.admin_url("")).get("/livez").await.status, 200);
}
