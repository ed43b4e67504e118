//! Retries by a proxy in front: of what it could not deliver, and of nothing else.

use reqwest::header::CONTENT_TYPE;
use voting_core::BallotId;
use voting_tests::deployment::Deployment;
use voting_tests::http::{Visitor, send};
use voting_tests::reverse_proxy::ReverseProxy;
use voting_tests::servers::Redis;
use voting_tests::{ClosedPort, figure};

const FORM: &str = "application/x-www-form-urlencoded";

/// Retries every 503, and reports in the response the number of attempts.
const RETRIES: &str = "
virtual_hosts:
  - name: poll
    domains: ['*']
    include_request_attempt_count: true
    include_attempt_count_in_response: true
    routes:
      - match: {prefix: /}
        route:
          cluster: voting-app
          retry_policy: {retry_on: retriable-status-codes, retriable_status_codes: [503], num_retries: 2}
";

#[tokio::test]
async fn a_proxy_that_retries_a_503_does_not_repeat_the_apps_own() {
    let nothing = ClosedPort::reserve();
    let store = format!("redis://{}", nothing.address());
    let deployment = Deployment::start("1.0", "1.1", &store, &[]).await;
    let proxy = ReverseProxy::envoy(RETRIES, deployment.app.address).await;
    let visitor = Visitor::new(proxy.url("127.0.0.1"));
    let form = format!("vote=Cats&ballot={}", BallotId::new());
    let answer = send(visitor.request("POST", "/").header(CONTENT_TYPE, FORM).body(form)).await;
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert_eq!(answer.headers["x-envoy-attempt-count"], "1");
    let analytics = ReverseProxy::envoy(RETRIES, deployment.analytics.address).await;
    let answer = Visitor::new(analytics.url("127.0.0.1")).get("/analytics").await;
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert_eq!(answer.headers["x-envoy-attempt-count"], "1");
}

#[tokio::test]
async fn a_form_without_a_ballot_that_a_proxy_repeats_is_not_counted_twice() {
    let redis = Redis::database().await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
    let visitor = deployment.visitor();
    let post = async |form: String, attempt: &str| {
        let request = visitor.request("POST", "/").header("x-envoy-attempt-count", attempt);
        let answer = send(request.header(CONTENT_TYPE, FORM).body(form)).await;
        (answer.status, answer.headers["x-vote-outcome"].to_str().unwrap().to_owned())
    };
    assert_eq!(post("vote=Cats".to_owned(), "1").await, (303, "counted".to_owned()));
    assert_eq!(post("vote=Cats".to_owned(), "2").await, (503, "unconfirmed".to_owned()));
    let ballot = format!("vote=Cats&ballot={}", BallotId::new());
    assert_eq!(post(ballot.clone(), "2").await, (303, "counted".to_owned()));
    assert_eq!(post(ballot, "3").await, (303, "already-counted".to_owned()));
    assert!(visitor.get_served("/").await.text.contains("Cats: 2/2"));

    // The first attempt of a reset may have been done before these votes.
    let reset = async |attempt: &str| {
        let request = visitor.request("POST", "/").header("x-envoy-attempt-count", attempt);
        send(request.header(CONTENT_TYPE, FORM).body("vote=reset")).await
    };
    let repeated = reset("2").await;
    assert_eq!(repeated.status, 503, "{}", repeated.text);
    assert!(visitor.get_served("/").await.text.contains("Cats: 2/2"));
    assert_eq!(reset("1").await.status, 303);
    assert!(visitor.get_served("/").await.text.contains("Cats: 0/0"));
    figure("a repeated vote without a ballot, and a repeated reset", "2 of 2 unconfirmed, none done twice");
}
