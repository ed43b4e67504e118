//! The page behind proxies, over plain HTTP and at another host than localhost: there, browsers send no `Sec-Fetch-Site`.

use std::time::Duration;

use serde_json::json;
use voting_tests::browser::Browser;
use voting_tests::deployment::Deployment;
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::reverse_proxy::{ReverseProxy, examples};
use voting_tests::servers::Redis;

use crate::CATS;

const SILENT: &str = "No live results. Reload the page to see new votes.";

#[tokio::test]
async fn a_browser_votes_behind_each_documented_proxy() {
    let redis = Redis::database().await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
    let app = deployment.app.address;
    let browser = Browser::start().await;
    // They end after the browser, which would complain.
    let proxies = [
        ReverseProxy::nginx(&examples("nginx")[0], app).await,
        ReverseProxy::haproxy(&examples("haproxy")[0], app).await,
        ReverseProxy::envoy(&examples("envoy")[0], app).await,
        ReverseProxy::traefik(&examples("traefik")[0], app).await,
    ];
    for proxy in &proxies {
        browser.open(&proxy.url("vote.example")).await;
        browser.follow(CATS).await;
        assert_eq!(browser.text(".notice").await, "Your vote for Cats was counted.");
        browser.wait_for("#connection", "Live").await;
    }
    browser.end().await;
}

#[tokio::test]
async fn the_page_says_that_no_live_results_arrive() {
    let redis = Redis::database().await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
    // A proxy that buffers whatever the service says.
    let deaf =
        examples("nginx")[0].replace("proxy_pass", "proxy_ignore_headers X-Accel-Buffering; proxy_pass");
    let proxy = ReverseProxy::nginx(&deaf, deployment.app.address).await;
    let browser = Browser::start().await;
    browser.open(&proxy.url("vote.example")).await;
    browser.wait_for("#connection", SILENT).await;
    browser.follow(CATS).await;
    assert_eq!(browser.text("#results").await, "Cats: 1/1 (100%) | Dogs: 0/1 (0%)");
    browser.end().await;
}

#[tokio::test]
async fn the_page_says_that_the_live_results_fell_silent_and_follows_a_new_stream() {
    let redis = Redis::database().await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
    let proxy = Proxy::start(deployment.app.address, Mode::Open).await;
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", proxy.address())).await;
    browser.wait_for("#connection", "Live").await;
    // Longer than the page waits for an event: the results don't change, and the heartbeat arrives.
    tokio::time::sleep(Duration::from_secs(18)).await;
    assert_eq!(browser.text("#connection").await, "Live");
    proxy.set(Mode::Silent);
    browser.wait_for("#connection", SILENT).await;
    deployment.visitor().vote("Cats").await;
    proxy.set(Mode::Open);
    browser.wait_for("#connection", "Live").await;
    browser.wait_for("#results", "Cats: 1/1 (100%) | Dogs: 0/1 (0%)").await;
    browser.end().await;
}

#[tokio::test]
async fn a_browser_votes_under_a_path_prefix() {
    let redis = Redis::database().await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[("FEATUREFLAG", "true")]).await;
    let app = deployment.app.address;
    let nginx = &examples("nginx")[1];
    let browser = Browser::start().await;
    let proxies = [
        ReverseProxy::nginx(nginx, app).await,
        ReverseProxy::nginx(&nginx.replace("proxy_set_header X-Forwarded-Prefix /poll;", ""), app).await,
        ReverseProxy::haproxy(&examples("haproxy")[1], app).await,
        ReverseProxy::envoy(&examples("envoy")[1], app).await,
        ReverseProxy::traefik(&examples("traefik")[1], app).await,
    ];
    for proxy in &proxies {
        let url = format!("{}/poll/", proxy.url("vote.example"));
        browser.open(&url).await;
        browser.follow(CATS).await;
        assert_eq!(browser.text(".notice").await, "Your vote for Cats was counted.");
        browser.wait_for("#connection", "Live").await;
        let switch = "button[role=switch]";
        for state in ["true", "false"] {
            browser.follow(switch).await;
            assert_eq!(browser.attribute(switch, "aria-checked").await.as_deref(), Some(state));
        }
        let at =
            browser.script("return location.href + document.styleSheets[0].cssRules.length", json!([])).await;
        let at = at.as_str().unwrap();
        assert!(at.starts_with(&url) && !at.ends_with("/0"), "{at}");
    }
    browser.end().await;
}
