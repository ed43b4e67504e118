//! The log: its lines, and its independence of their reader.

use std::io::{PipeReader, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use voting_tests::http::{Answer, Visitor, send};
use voting_tests::process::Service;
use voting_tests::servers::Redis;
use voting_tests::{PATIENCE, eventually};

use super::{GATEWAY_SPAN, TRACE, start, terminate};

fn parse(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn lines(log: &Path) -> Vec<Value> {
    parse(&std::fs::read_to_string(log).unwrap())
}

fn requests(lines: Vec<Value>) -> Vec<Value> {
    lines.into_iter().filter(|line| line["target"] == "voting_http::observe").collect()
}

#[tokio::test]
async fn each_request_is_one_line_of_json_that_can_be_found_by_its_trace() {
    let redis = Redis::database().await;
    let logs = tempfile::tempdir().unwrap();
    let (app, analytics) = start(&redis.url(), &[("SHUTDOWN_WAIT", "0")], Some(logs.path())).await;
    let visitor = Visitor::new(app.url(""));
    send(visitor.request("GET", "/").header("traceparent", format!("00-{TRACE}-{GATEWAY_SPAN}-00"))).await;
    send(visitor.request("GET", "/").header("x-request-id", "of-the-gateway")).await;
    visitor.get("/").await;
    visitor.get("/no-such-page?secret=1").await;
    visitor.vote("Cats").await;
    terminate(app).await;
    terminate(analytics).await;

    let [of_app, of_analytics] = ["app", "analytics"].map(|name| requests(lines(&logs.path().join(name))));
    let seen: Vec<_> = of_app
        .iter()
        .map(|line| {
            (line["method"].as_str().unwrap(), line["path"].as_str().unwrap(), line["status"].as_u64())
        })
        .collect();
    let expected = [
        ("GET", "/", 200),
        ("GET", "/", 200),
        ("GET", "/", 200),
        ("GET", "/no-such-page", 404),
        ("POST", "/", 303),
    ];
    assert_eq!(seen, expected.map(|(method, path, status)| (method, path, Some(status))));
    for line in &of_app {
        assert_eq!(
            (&line["level"], &line["message"], &line["component"], &line["release"]),
            (&"INFO".into(), &"request completed".into(), &"voting-app".into(), &"1.0".into())
        );
        assert!(line["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0 && seconds < 10.0), "{line}");
        assert!(line["timestamp"].is_string(), "{line}");
    }
    let ids = |lines: &[Value]| {
        lines.iter().map(|line| line["trace_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&of_app)[..2], [TRACE, "of-the-gateway"]);
    assert!(ids(&of_app)[2..].iter().all(|id| id.len() == 36), "{of_app:?}");
    // Each call of voting-analytics has the ID of its page.
    assert_eq!(ids(&of_analytics), ids(&of_app)[..3]);
}

#[tokio::test]
async fn the_log_begins_with_the_addresses_and_is_complete_up_to_the_shutdown() {
    let redis = Redis::database().await;
    let logs = tempfile::tempdir().unwrap();
    let (app, analytics) = start(&redis.url(), &[("SHUTDOWN_WAIT", "0")], Some(logs.path())).await;
    let (address, admin) = (app.address.to_string(), app.admin.to_string());
    terminate(app).await;
    terminate(analytics).await;

    for name in ["app", "analytics"] {
        let lines = lines(&logs.path().join(name));
        // What is found in the store may come at any time.
        let messages = lines.iter().map(|line| line["message"].as_str().unwrap());
        let messages: Vec<_> = messages.filter(|message| *message != "store inspected").collect();
        let shutdown = ["SIGTERM received, draining", "closing, finishing requests in flight"];
        assert_eq!(messages, [&["listening"], &shutdown[..]].concat(), "{name}");
    }
    let listening = &lines(&logs.path().join("app"))[0];
    assert_eq!((&listening["address"], &listening["admin_address"]), (&address.into(), &admin.into()));
}

#[tokio::test]
async fn the_log_is_text_or_silent_when_asked() {
    let redis = Redis::database().await;
    let logs = tempfile::tempdir().unwrap();
    let settings = [("SHUTDOWN_WAIT", "0"), ("LOG_FORMAT", "text")];
    let (app, _analytics) = start(&redis.url(), &settings, Some(logs.path())).await;
    Visitor::new(app.url("")).get("/").await;
    terminate(app).await;
    let text = std::fs::read_to_string(logs.path().join("app")).unwrap();
    let line = text.lines().find(|line| line.contains("request completed")).unwrap();
    for field in [r#"method="GET""#, r#"path="/""#, "status=200", "trace_id="] {
        assert!(line.contains(field), "{field}: {line:?}");
    }
    assert!(!line.contains('\u{1b}'), "{line:?}");

    let logs = tempfile::tempdir().unwrap();
    let settings = [("SHUTDOWN_WAIT", "0"), ("RUST_LOG", "warn")];
    let (app, analytics) = start(&redis.url(), &settings, Some(logs.path())).await;
    // With a connection, its answer is in time.
    Visitor::new(analytics.url("")).get_served("/analytics").await;
    Visitor::new(app.url("")).get("/").await;
    terminate(app).await;
    assert_eq!(std::fs::read_to_string(logs.path().join("app")).unwrap(), "");
}

/// Sends this number of requests for a path, eight at a time.
async fn load(visitor: &Visitor, path: &str, requests: usize) {
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (visitor, path) = (visitor.clone(), path.to_owned());
        clients.spawn(async move {
            for _ in 0..requests / 8 {
                assert_eq!(in_time(visitor.get(&path)).await.status, 404);
            }
        });
    }
    clients.join_all().await;
}

async fn in_time(answer: impl Future<Output = Answer>) -> Answer {
    tokio::time::timeout(Duration::from_secs(3), answer).await.expect("no answer in time")
}

#[tokio::test]
async fn a_log_that_nobody_reads_delays_nothing_and_its_dropped_lines_are_counted() {
    let redis = Redis::database().await;
    let (_app, analytics) = start(&redis.url(), &[], None).await;
    let (store, url) = (redis.url(), analytics.url(""));
    for format in ["json", "text"] {
        let settings = [
            ("STORAGE_URL", store.as_str()),
            ("ANALYTICS_URL", &url),
            ("LOG_FORMAT", format),
            ("SHUTDOWN_WAIT", "0"),
        ];
        let (app, _unread) = Service::start_piped("voting-app", &settings).await;
        let (visitor, admin) = (Visitor::new(app.url("")), Visitor::new(app.admin_url("")));
        // The pipe holds some 250 lines, the buffer 2,048.
        load(&visitor, "/no-such-page", 4000).await;

        assert_eq!(in_time(visitor.get("/")).await.status, 200, "{format}");
        assert_eq!(in_time(visitor.post("/", "vote=Cats")).await.status, 303, "{format}");
        assert_eq!(in_time(admin.get("/livez")).await.status, 200, "{format}");
        let dropped = dropped_lines(&app).await;
        assert!((1000..4000).contains(&dropped), "{format}: {dropped}");
        terminate(app).await;
    }
}

/// The lines that the service says it has dropped.
async fn dropped_lines(service: &Service) -> u64 {
    let metrics = in_time(Visitor::new(service.admin_url("")).get("/metrics")).await.text;
    let dropped = metrics.lines().find(|line| line.starts_with("voting_log_dropped_lines_total{"));
    dropped.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn lines_that_a_full_disk_or_a_closed_pipe_does_not_take_are_counted() {
    let settings = [("STORAGE_URL", "redis://127.0.0.1:1"), ("SHUTDOWN_WAIT", "0")];
    let full = Service::start_logged("voting-app", &settings, Some(Path::new("/dev/full"))).await;
    let (closed, reader) = Service::start_piped("voting-app", &settings).await;
    drop(reader);
    for app in [full, closed] {
        let before = dropped_lines(&app).await;
        load(&Visitor::new(app.url("")), "/no-such-page", 400).await;
        eventually("all lines are counted", PATIENCE, async || dropped_lines(&app).await >= before + 400)
            .await;
        terminate(app).await;
    }
}

/// Reads a pipe to its end: while `is_slow`, 2 MB per second at most, so that writers find it full.
fn read_slowly(mut pipe: PipeReader, is_slow: &AtomicBool) -> String {
    let (mut log, mut part) = (Vec::new(), [0; 3000]);
    loop {
        let length = pipe.read(&mut part).unwrap();
        if length == 0 {
            return String::from_utf8(log).unwrap();
        }
        log.extend_from_slice(&part[..length]);
        if is_slow.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_micros(1500));
        }
    }
}

#[tokio::test]
async fn long_lines_of_concurrent_requests_are_not_torn() {
    let settings = [("STORAGE_URL", "redis://127.0.0.1:1"), ("SHUTDOWN_WAIT", "0")];
    let (app, pipe) = Service::start_piped("voting-app", &settings).await;
    let is_slow = Arc::new(AtomicBool::new(true));
    let reader = std::thread::spawn({
        let is_slow = is_slow.clone();
        move || read_slowly(pipe, &is_slow)
    });
    let visitor = Visitor::new(app.url(""));
    let long = format!("/{}", "a".repeat(10_000));
    tokio::join!(load(&visitor, &long, 400), load(&visitor, "/short", 800));
    is_slow.store(false, Ordering::Relaxed);
    terminate(app).await;

    let requests = requests(parse(&reader.join().unwrap()));
    let count = |path: &str| requests.iter().filter(|line| line["path"] == path).count();
    assert_eq!((count(&long), count("/short")), (400, 800));
}
