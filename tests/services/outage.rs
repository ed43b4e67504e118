//! Outages: bounded waits and truthful responses.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse as _;
use voting_tests::deployment::Deployment;
use voting_tests::http::{Answer, Visitor, served, upstream};
use voting_tests::process::Service;
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::{MySql, Redis};
use voting_tests::{ClosedPort, PATIENCE, Stopwatch, eventually, figure};

const UNAVAILABLE: &str = "The votes are unavailable right now. You can still vote.";

/// The page of an app with this voting-analytics. Checks that it renders in time and takes votes.
async fn page_with(what: &str, analytics: SocketAddr) -> Answer {
    let analytics = format!("http://{analytics}");
    let redis = Redis::database().await;
    let settings = [("STORAGE_URL", redis.url()), ("ANALYTICS_URL", analytics)];
    let app =
        Service::start("voting-app", &settings.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    let visitor = Visitor::new(app.url(""));
    let stopwatch = Stopwatch::start();
    let page = visitor.get("/").await;
    stopwatch.assert_within(Duration::from_millis(1500), what);
    let after = stopwatch.elapsed();
    visitor.vote("Cats").await;
    assert_eq!(redis.query::<u64>("GET", &["Cats"]).await, 1);
    figure(&format!("analytics: {what}"), format!("the page after {after:.1?}, 1 of 1 votes accepted"));
    page
}

#[tokio::test]
async fn an_app_in_place_of_analytics_is_named_and_called_once_per_page() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("STORAGE_URL", "redis://127.0.0.1:1"), ("SHUTDOWN_WAIT", "0")];
    let logs = ["other", "own"].map(|name| folder.path().join(name));
    let other = Service::start_logged("voting-app", &settings, Some(&logs[0])).await;
    let url = other.url("");
    let settings = [&settings[..], &[("ANALYTICS_URL", &url)]].concat();
    let app = Service::start_logged("voting-app", &settings, Some(&logs[1])).await;
    let page = Visitor::new(app.url("")).get("/").await;
    assert!(page.text.contains(UNAVAILABLE), "{}", page.text);
    let lines = |log: &std::path::Path, part: &str| {
        std::fs::read_to_string(log).unwrap().lines().filter(|line| line.contains(part)).count()
    };
    let named = "the response is 404 Not Found of voting-app; allowed: ANALYTICS_URL, or ANALYTICS_HOST and ANALYTICS_PORT";
    eventually("the mistake is named", PATIENCE, async || lines(&logs[1], named) == 1).await;
    eventually("the other app logs the call", PATIENCE, async || lines(&logs[0], "request completed") > 0)
        .await;
    assert_eq!(lines(&logs[0], "request completed"), 1);
}

#[tokio::test]
async fn the_page_renders_in_time_and_takes_votes_despite_any_fault_of_analytics() {
    let garbage = |body: &'static str| Router::new().fallback(async move || body);
    let huge = Router::new().fallback(async || "x".repeat(10 * 1024 * 1024));
    let slow = Router::new().fallback(async || tokio::time::sleep(Duration::from_secs(60)).await);
    let broken =
        Router::new().fallback(async || axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response());
    let elsewhere =
        Router::new().fallback(async || axum::response::Redirect::to("/analytics").into_response());
    for (what, analytics) in [
        ("empty", garbage("")),
        ("null", garbage("null")),
        ("garbled", garbage("{\"category1\":")),
        ("another JSON", garbage("{\"category1\":{\"count\":\"2\"}}")),
        (
            "other choices",
            garbage(
                r#"{"category1":{"name":"Dogs","count":1},"category2":{"name":"Cats","count":2},"text":"Dogs: 1 | Cats: 2"}"#,
            ),
        ),
        ("huge", huge),
        ("slow", slow),
        ("500", broken),
        ("a redirect to itself", elsewhere),
    ] {
        let page = page_with(what, upstream(analytics).await).await;
        assert_eq!((page.status, page.results().as_str()), (200, UNAVAILABLE), "{what}");
        assert_eq!(page.header("x-voting-path"), "app=1.0, storage=1.0", "{what}");
    }
    let page = page_with("no analytics", ClosedPort::reserve().address()).await;
    assert_eq!((page.status, page.results().as_str()), (200, UNAVAILABLE));
}

/// Casts a vote during an outage of the store and after it.
async fn a_vote_survives_an_outage(app: &str, analytics: &str, store: &str, proxy: &Proxy) {
    let deployment = Deployment::start(app, analytics, store, &[]).await;
    let (visitor, admin) = (deployment.visitor(), Visitor::new(deployment.app.admin_url("")));
    visitor.vote("Dogs").await;
    eventually("the app is ready", PATIENCE, async || admin.get("/readyz").await.status == 200).await;
    let ballot = visitor.get("/").await.ballot();

    proxy.set(Mode::Closed);
    // An idle connection is probed before a vote is sent on it. On a busy one the outcome would be unknown.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stopwatch = Stopwatch::start();
    let [open, refused] =
        [format!("vote=Cats&ballot={ballot}"), "vote=Cats".to_owned()].map(|form| visitor.post("/", form));
    let (open, refused) = tokio::join!(open, refused);
    stopwatch.assert_within(Duration::from_secs(3), "a vote without a store");
    assert_eq!((open.status, open.header("retry-after")), (503, "1"));
    // The ballot may have been sent before.
    assert_eq!(open.header("x-vote-outcome"), "unconfirmed");
    assert!(open.text.contains("may or may not be counted"), "{}", open.text);
    assert_eq!(refused.header("x-vote-outcome"), "refused");
    assert!(refused.text.contains("was not counted"), "{}", refused.text);
    assert_eq!(
        (open.ballot(), open.attribute("button[name=vote]", "value").as_deref()),
        (ballot, Some("Cats"))
    );

    let page = visitor.get("/").await;
    assert_eq!((page.status, page.results().as_str()), (200, UNAVAILABLE));
    let ready = admin.get("/readyz").await;
    assert_eq!((ready.status, ready.text.as_str()), (503, "[+]shutdown ok\n[-]store failed\n"));
    assert_eq!(admin.get("/readyz?exclude=store").await.status, 200);
    assert_eq!(admin.get("/livez").await.status, 200);

    proxy.set(Mode::Open);
    let stopwatch = Stopwatch::start();
    eventually("the store is used again", PATIENCE, async || admin.get("/readyz").await.status == 200).await;
    stopwatch.assert_within(Duration::from_secs(1), "recovery");
    assert_eq!(visitor.results().await, "Cats: 0/1 (0%) | Dogs: 1/1 (100%)", "a refused vote was counted");
    let form = format!("vote=Cats&ballot={}", open.ballot());
    let again = served(|| visitor.post("/", &form)).await;
    assert_eq!(again.status, 303, "{}", again.text);
    assert_eq!(visitor.results().await, "Cats: 1/2 (50%) | Dogs: 1/2 (50%)");
}

#[tokio::test]
async fn a_vote_survives_an_outage_of_redis() {
    let redis = Redis::database().await;
    let proxy = Proxy::start(redis.address(), Mode::Open).await;
    a_vote_survives_an_outage("1.0", "1.1", &redis.url_at(proxy.address()), &proxy).await;
}

#[tokio::test]
async fn a_vote_survives_an_outage_of_mysql() {
    let mysql = MySql::database().await;
    let proxy = Proxy::start(mysql.address(), Mode::Open).await;
    a_vote_survives_an_outage("2.0", "2.0", &mysql.url_at(proxy.address()), &proxy).await;
}

#[tokio::test]
async fn a_vote_with_a_lost_confirmation_is_reported_and_counts_once() {
    let redis = Redis::database().await;
    let proxy = Proxy::start(redis.address(), Mode::Open).await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url_at(proxy.address()), &[]).await;
    let visitor = deployment.visitor();
    let mut votes = 0;
    loop {
        let ballot = visitor.get("/").await.ballot();
        visitor.vote("Cats").await;
        votes += 1;
        proxy.set(Mode::DropAnswers);
        let open = visitor.post("/", format!("vote=Cats&ballot={ballot}")).await;
        assert_eq!((open.status, open.header("x-vote-outcome")), (503, "unconfirmed"));
        assert!(open.text.contains("may or may not be counted"), "{}", open.text);
        let was_counted = redis.query::<u64>("GET", &["Cats"]).await > votes;
        proxy.set(Mode::Open);
        let form = format!("vote=Cats&ballot={}", open.ballot());
        let again = served(|| visitor.post("/", &form)).await;
        votes += 1;
        assert_eq!(visitor.results().await, format!("Cats: {votes}/{votes} (100%) | Dogs: 0/{votes} (0%)"));
        assert_eq!(again.status, 303, "{}", again.text);
        if was_counted {
            assert_eq!(again.header("x-vote-outcome"), "already-counted");
            return;
        }
        // On a busy machine the connection was idle and was probed first: it was the probe's answer that was lost.
        assert!(votes < 100, "no answer to a vote was lost");
    }
}
