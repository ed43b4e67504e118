//! The page: elements, headers and live results.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use voting_tests::deployment::Deployment;
use voting_tests::http::{Visitor, send, upstream};
use voting_tests::process::Service;
use voting_tests::servers::Redis;
use voting_tests::{PATIENCE, Stopwatch, eventually};

async fn deployment(settings: &[(&str, &str)]) -> (Deployment, Redis) {
    let redis = Redis::database().await;
    (Deployment::start("1.0", "1.1", &redis.url(), settings).await, redis)
}

#[tokio::test]
async fn a_resubmitted_ballot_counts_once() {
    let (deployment, _redis) = deployment(&[]).await;
    let visitor = deployment.visitor();
    let page = visitor.get("/").await;
    let form = format!("ballot={}&vote=Cats", page.ballot());
    let outcomes = [visitor.post("/", &form).await, visitor.post("/", &form).await];
    assert_eq!(outcomes.each_ref().map(|answer| answer.status), [303, 303]);
    assert_eq!(
        outcomes.each_ref().map(|answer| answer.header("x-vote-outcome")),
        ["counted", "already-counted"]
    );
    assert_eq!(visitor.results().await, "Cats: 1/1 (100%) | Dogs: 0/1 (0%)");
    assert_ne!(visitor.get("/").await.ballot(), page.ballot());
}

#[tokio::test]
async fn the_page_has_security_headers_and_is_not_cached() {
    let (deployment, _redis) = deployment(&[]).await;
    let page = deployment.visitor().get("/").await;
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
    ] {
        assert_eq!(page.header(name), value, "{name}");
    }
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(page.attribute("[style], [onclick], script:not([src]), style", "class").is_none());
}

#[tokio::test]
async fn assets_are_cached_forever_under_their_content_hash() {
    let (deployment, _redis) = deployment(&[]).await;
    let visitor = deployment.visitor();
    let page = visitor.get("/").await;
    for (selector, attribute, content_type) in [
        ("link[rel=stylesheet]", "href", "text/css; charset=utf-8"),
        ("link[rel=icon]", "href", "image/svg+xml"),
        ("script", "src", "text/javascript; charset=utf-8"),
    ] {
        let url = page.attribute(selector, attribute).unwrap();
        let asset = visitor.get(&url).await;
        assert_eq!((asset.status, asset.header("content-type")), (200, content_type), "{url}");
        assert_eq!(asset.header("cache-control"), "public, max-age=31536000, immutable");
    }
    let older = visitor.get("/assets/0000000000000000/voting.css").await;
    assert_eq!((older.status, older.header("cache-control")), (200, "no-store"));
}

/// The bytes of a response to a browser: head and body.
async fn on_the_wire(deployment: &Deployment, path: &str) -> Vec<u8> {
    let mut connection = TcpStream::connect(deployment.app.address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: close\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{path}");
    answer
}

#[tokio::test]
async fn a_first_visit_transfers_less_than_10_kb() {
    let (deployment, _redis) = deployment(&[("FEATUREFLAG", "true"), ("SHOWDETAILS", "true")]).await;
    let page = deployment.visitor().get("/").await;
    let asset = |selector, attribute| page.attribute(selector, attribute).unwrap();
    let assets =
        [asset("link[rel=stylesheet]", "href"), asset("link[rel=icon]", "href"), asset("script", "src")];
    let mut total = 0;
    for path in ["/"].into_iter().chain(assets.iter().map(|path| path.trim_start_matches('.'))) {
        let bytes = on_the_wire(&deployment, path).await;
        println!("{path}: {} bytes", bytes.len());
        total += bytes.len();
    }
    assert!(total < 10_000, "{total} bytes");
}

#[tokio::test]
async fn assets_are_compressed_on_request_and_the_same_in_both_releases() {
    let (deployment, _redis) = deployment(&[]).await;
    let newer = Service::start("voting-app", &[("RELEASE", "2.0")]).await;
    let url = deployment.visitor().get("/").await.attribute("link[rel=stylesheet]", "href").unwrap();
    for visitor in [deployment.visitor(), Visitor::new(newer.url(""))] {
        let plain = visitor.get(&url).await;
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), ("", "accept-encoding"));
        for (accepted, coding) in [("gzip, deflate, br", "gzip"), ("gzip", "gzip"), ("br, gzip;q=0", "")] {
            let request = visitor.request("GET", &url).header("accept-encoding", accepted);
            let answer = request.send().await.unwrap();
            let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap());
            assert_eq!(
                (header("content-encoding"), header("vary")),
                (coding, "accept-encoding"),
                "{accepted}"
            );
            assert_eq!(header("cache-control"), "public, max-age=31536000, immutable");
            let length = answer.bytes().await.unwrap().len();
            assert_eq!(length < plain.text.len() / 2, !coding.is_empty(), "{accepted}: {length}");
        }
    }
}

#[tokio::test]
async fn the_outcome_of_a_vote_is_shown_once_and_only_to_its_voter() {
    let (deployment, _redis) = deployment(&[]).await;
    let visitor = deployment.visitor();
    let voted = visitor.post("/", "vote=Dogs").await;
    assert_eq!((voted.status, voted.header("location")), (303, "/"));
    assert_eq!(voted.header("set-cookie"), "notice=counted-2; HttpOnly; SameSite=Lax; Path=/; Max-Age=60");
    let page = visitor.with_cookies("notice=counted-2").get("/").await;
    assert_eq!(page.element(".notice").unwrap(), "Your vote for Dogs was counted.");
    assert_eq!(page.header("set-cookie"), "notice=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0");
    for cookies in ["notice=", "notice=counted-3", "notice=<b>hello</b>", "a=b"] {
        let page = visitor.with_cookies(cookies).get("/").await;
        assert_eq!((page.element(".notice"), page.header("set-cookie")), (None, ""), "{cookies}");
    }
}

#[tokio::test]
async fn resets_can_be_disabled() {
    let (deployment, _redis) = deployment(&[("ALLOW_RESET", "false")]).await;
    let visitor = deployment.visitor();
    visitor.vote("Cats").await;
    assert_eq!(visitor.post("/", "vote=reset").await.status, 403);
    assert_eq!(visitor.results().await, "Cats: 1/1 (100%) | Dogs: 0/1 (0%)");
    assert!(visitor.get("/").await.attribute("button[value=reset]", "value").is_none());
}

#[tokio::test]
async fn a_viewer_sees_the_votes_of_others_within_two_seconds() {
    let (deployment, _redis) = deployment(&[]).await;
    let visitor = deployment.visitor();
    let mut events = visitor.request("GET", "/events").send().await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let mut seen = String::new();
    let mut wait_for = async |text: &str| {
        let waiting = async {
            while !seen.contains(text) {
                seen += std::str::from_utf8(&events.chunk().await.unwrap().unwrap()).unwrap();
            }
        };
        let stopwatch = Stopwatch::start();
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("no {text}"));
        stopwatch.assert_within(Duration::from_secs(2), text);
    };
    wait_for("data: {\"text\":\"Cats: 0/0 (0%) | Dogs: 0/0 (0%)\",\"counts\":[0,0],\"analytics\":\"1.1\",\"storage\":\"1.0\"}\n\n").await;
    visitor.vote("Dogs").await;
    wait_for("\"counts\":[0,1]").await;
}

/// An app with a fake voting-analytics that counts its requests.
async fn counted_reads() -> (Service, Redis, Arc<AtomicU64>) {
    let reads = Arc::new(AtomicU64::new(0));
    let counter = reads.clone();
    let analytics = upstream(Router::new().fallback(async move || {
        let read = counter.fetch_add(1, Ordering::Relaxed);
        format!(
            "{{\"category1\":{{\"name\":\"Cats\",\"count\":{read}}},\"category2\":{{\"name\":\"Dogs\",\"count\":0}},\"text\":\"read {read}\"}}"
        )
    }))
    .await;
    let redis = Redis::database().await;
    let (store, analytics) = (redis.url(), format!("http://{analytics}"));
    let app = Service::start("voting-app", &[("STORAGE_URL", &store), ("ANALYTICS_URL", &analytics)]).await;
    (app, redis, reads)
}

#[tokio::test]
async fn all_viewers_of_a_pod_share_one_read_per_second_and_without_viewers_there_is_none() {
    let (app, _redis, reads) = counted_reads().await;
    let visitor = Visitor::new(app.url(""));
    let mut viewers = Vec::new();
    for _ in 0..50 {
        viewers.push(visitor.request("GET", "/events").send().await.unwrap());
    }
    for viewer in &mut viewers {
        assert!(viewer.chunk().await.unwrap().unwrap().starts_with(b"data: {\"text\":\"read "));
    }
    let (before, start) = (reads.load(Ordering::Relaxed), Instant::now());
    let during = || reads.load(Ordering::Relaxed) - before;
    tokio::time::sleep(Duration::from_secs(3)).await;
    eventually("the results are read again", PATIENCE, async || during() >= 2).await;
    let (during, elapsed) = (during(), start.elapsed());
    assert!(during <= elapsed.as_secs() + 1, "{during} reads in {elapsed:?}");

    drop(viewers);
    eventually("the reads end with the viewers", PATIENCE, async || {
        let before = reads.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(2500)).await;
        reads.load(Ordering::Relaxed) == before
    })
    .await;
}

#[tokio::test]
async fn a_new_viewer_gets_no_results_older_than_the_page() {
    let (app, _redis, reads) = counted_reads().await;
    let visitor = Visitor::new(app.url(""));
    let _other = visitor.request("GET", "/events").send().await.unwrap();
    for _ in 0..5 {
        let page = reads.load(Ordering::Relaxed);
        let mut viewer = visitor.request("GET", "/events").send().await.unwrap();
        let event = String::from_utf8(viewer.chunk().await.unwrap().unwrap().to_vec()).unwrap();
        let read: u64 = event.split("\"read ").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        assert!(read >= page, "the page may show read {}, the first event read {read}", page - 1);
    }
}

#[tokio::test]
async fn the_cookies_of_a_sign_in_proxy_lock_nobody_out() {
    let (deployment, _redis) = deployment(&[]).await;
    for bytes in [4 * 1024, 8 * 1024, 31 * 1024] {
        // As sign-in proxies do, in parts of up to 4 KB.
        let parts = (0..bytes / 4000 + 1).map(|part| format!("_session_{part}={}", "x".repeat(3900)));
        let cookies = parts.chain(["featureflag=on".to_owned()]).collect::<Vec<_>>().join("; ");
        let cookies = &cookies[cookies.len().saturating_sub(bytes)..];
        let visitor = deployment.visitor().with_cookies(cookies);
        visitor.vote("Cats").await;
        let page = visitor.get_served("/").await;
        assert_eq!(page.status, 200);
        // The results are there: voting-analytics accepted the call that the page caused.
        assert!(page.results().starts_with("Cats: "), "{}", page.results());
        assert!(
            page.header("set-cookie").starts_with("featureflag=on"),
            "the flag among {bytes} bytes is lost"
        );
    }
    // With other large headers, such as a token.
    let token = deployment.visitor().request("GET", "/").header("authorization", "x".repeat(50 * 1024));
    assert_eq!(send(token).await.status, 200);
}

#[tokio::test]
async fn calls_of_analytics_carry_the_trace_headers_and_the_release() {
    use axum::http::HeaderMap;
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let analytics = upstream(Router::new().fallback(async move |headers: HeaderMap| {
        sender.send(headers).unwrap();
        r#"{"category1":{"name":"Cats","count":1},"category2":{"name":"Dogs","count":2},"text":"from a stand-in"}"#
    }))
    .await;
    let redis = Redis::database().await;
    let url = format!("http://{analytics}");
    let settings = [("RELEASE", "1.0"), ("STORAGE_URL", &redis.url()), ("ANALYTICS_URL", &url)];
    let app = Service::start("voting-app", &settings).await;
    let visitor = Visitor::new(app.url(""));
    let trace = [
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "a=b"),
        ("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"),
        ("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"),
        ("x-request-id", "a-request"),
    ];
    let request = trace
        .iter()
        .fold(visitor.request("GET", "/"), |request, (name, value)| request.header(*name, *value));
    let page = send(request.header("x-other", "stays here")).await;
    assert_eq!(page.results(), "from a stand-in");
    let headers = heard.recv().await.unwrap();
    for (name, value) in trace {
        assert_eq!(headers[name], value);
    }
    assert!(!headers.contains_key("x-other"));
    // With the Gateway API, the mesh routes by it.
    assert_eq!(headers["user-agent"], "voting-app/1.0");
}
