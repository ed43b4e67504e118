//! Limits of clients: their time, their memory, and the number of their connections.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment as Manifest;
use serde::Deserialize as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use voting_http::server::ClientLimits;
use voting_tests::deployment::Deployment;
use voting_tests::http::Visitor;
use voting_tests::process::Service;
use voting_tests::servers::Redis;
use voting_tests::{PATIENCE, Stopwatch, eventually, figure, free_port};

/// A request of a client that closes its connection.
const PAGE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Sends this part of a request; returns the response, empty if the connection is closed, and the time until then.
async fn answer_to(service: &Service, part: &str) -> (String, Duration) {
    let mut connection = TcpStream::connect(service.address).await.unwrap();
    connection.write_all(part.as_bytes()).await.unwrap();
    let start = Instant::now();
    let mut answer = vec![0; 2048];
    let reading = tokio::time::timeout(Duration::from_secs(20), connection.read(&mut answer));
    let length = reading.await.expect("the connection stays open").unwrap_or(0);
    (String::from_utf8_lossy(&answer[..length]).into_owned(), start.elapsed())
}

#[tokio::test]
async fn connections_of_slow_clients_are_closed() {
    let redis = Redis::database().await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[("CLIENT_TIMEOUT", "1")]).await;
    let mut longest = Duration::ZERO;
    for part in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let (_, after) = answer_to(&deployment.app, part).await;
        assert!(after < Duration::from_secs(4), "{part:?}: {after:?}");
        longest = longest.max(after);
    }
    let form = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\nvote=";
    let (answer, after) = answer_to(&deployment.app, form).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // The rest of the form may have the id of a ballot that was counted.
    assert!(answer.contains("x-vote-outcome: unconfirmed"), "{answer}");
    assert!(after < Duration::from_secs(8), "{after:?}");
    let measured = format!("3 of 3 closed within {longest:.1?}, a form gets its 408 after {after:.1?}");
    figure("slow clients, CLIENT_TIMEOUT=1", measured);
    assert_eq!(deployment.visitor().results().await, "Cats: 0/0 (0%) | Dogs: 0/0 (0%)");
}

/// The peak resident memory of a process, in MiB, without the pages of the program's file: the kernel can drop them, and an
/// unoptimized program has many.
fn resident_mib(service: &Service) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let kib = |name: &str| -> u64 {
        let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        value.split_whitespace().next().unwrap().parse().unwrap()
    };
    (kib("VmHWM:") - kib("RssFile:")) / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_posts_to_a_dead_store_are_answered_in_bounded_memory() {
    let connections = ClientLimits::default().within_open_files().connections;
    assert!(connections > 2000, "this test needs more open files: ulimit -Hn");
    let store = format!("redis://127.0.0.1:{}", free_port());
    let app = Service::start("voting-app", &[("STORAGE_URL", &store)]).await;
    let visitor = Visitor::new(app.url(""));
    let stopwatch = Stopwatch::start();
    let mut posts = JoinSet::new();
    for _ in 0..2000 {
        let visitor = visitor.clone();
        posts.spawn(async move {
            let answer = visitor.post("/", "vote=Cats").await;
            (answer.status, answer.header("x-vote-outcome").to_owned())
        });
    }
    for (status, outcome) in posts.join_all().await {
        assert_eq!((status, outcome.as_str()), (503, "refused"));
    }
    let memory = resident_mib(&app);
    let measured = format!("all refused within {:.1?}, {memory} MiB", stopwatch.elapsed());
    figure("2,000 posts to a dead store", measured);
    // The deadline is 3 seconds; an unoptimized build needs the rest for 2,000 connections and pages.
    stopwatch.assert_within(Duration::from_secs(10), "2,000 posts");
    assert!(memory < 200, "{memory} MiB");
    assert_eq!(visitor.get("/").await.status, 200);
}

/// Opens this many connections with small buffers, and sends this on each as far as it is taken.
async fn flood(service: &Service, number: usize, part: &[u8]) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for _ in 0..number {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        let connection = socket.connect(service.address).await.unwrap();
        let _ = connection.try_write(part);
        connections.push(connection);
    }
    connections
}

async fn metric(service: &Service, name: &str) -> u64 {
    let metrics = Visitor::new(service.admin_url("")).get("/metrics").await.text;
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{")));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// The memory limit of voting-app in the tutorial, in MiB.
fn memory_limit() -> u64 {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s/step-1-create-voting-app.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let manifest = serde_yaml_ng::Deserializer::from_str(&text)
        .filter_map(|document| Manifest::deserialize(document).ok())
        .find(|manifest| manifest.metadata.name.as_deref() == Some("voting-app-1-0"));
    let pod = manifest.unwrap().spec.template.spec.unwrap();
    let limits = pod.containers[0].resources.as_ref().unwrap().limits.as_ref().unwrap();
    limits["memory"].0.strip_suffix("Mi").unwrap().parse().unwrap()
}

#[tokio::test]
async fn all_connections_with_unfinished_requests_fit_into_the_memory_of_the_manifest() {
    let most = ClientLimits::default().within_open_files().connections;
    assert_eq!(most, ClientLimits::default().connections, "this test needs more open files: ulimit -Hn");
    let redis = Redis::database().await;
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "a".repeat(60_000));
    let form = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 16000\r\n\r\nvote={}",
        "a".repeat(15_000)
    );
    let unread = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(40);
    let events = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n".to_owned() + &"a".repeat(15_000);
    for (kind, part) in [("heads", head), ("forms", form), ("unread pages", unread), ("viewers", events)] {
        let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
        let connections = flood(&deployment.app, most, part.as_bytes()).await;
        eventually("the connections are open", PATIENCE, async || {
            metric(&deployment.app, "voting_connections").await > 0
                && Visitor::new(deployment.app.admin_url("")).get("/livez").await.status == 200
        })
        .await;
        // Forms are given up after five seconds.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let memory = resident_mib(&deployment.app);
        println!("{most} {kind}: {memory} MiB");
        assert!(memory < memory_limit(), "{kind}: {memory} MiB");
        drop(connections);
        eventually("a vote is accepted", PATIENCE, async || {
            Visitor::new(deployment.app.url("")).post("/", "vote=Cats").await.status == 303
        })
        .await;
    }
}

#[tokio::test]
async fn clients_that_never_read_make_room_for_others() {
    let redis = Redis::database().await;
    let settings = [("CLIENT_TIMEOUT", "1"), ("MAX_CONNECTIONS", "4")];
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &settings).await;
    let style = "GET /assets/x/voting.css HTTP/1.1\r\nHost: x\r\n\r\n".repeat(800);
    let connections = flood(&deployment.app, 4, style.as_bytes()).await;
    eventually("further connections are rejected", PATIENCE, async || {
        let (answer, _) = answer_to(&deployment.app, PAGE).await;
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n")
    })
    .await;
    assert!(metric(&deployment.app, "voting_connections_rejected_total").await > 0);
    eventually("a page is served", PATIENCE, async || {
        for connection in &connections {
            let _ = connection.try_write(style.as_bytes());
        }
        answer_to(&deployment.app, PAGE).await.0.starts_with("HTTP/1.1 200 ")
    })
    .await;
    assert_eq!(Visitor::new(deployment.app.admin_url("")).get("/livez").await.status, 200);
}

#[tokio::test]
async fn live_viewers_leave_connections_to_pages() {
    let redis = Redis::database().await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[("MAX_CONNECTIONS", "8")]).await;
    let viewer = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut viewers = Vec::new();
    for status in [200, 200, 200, 200, 503] {
        let mut connection = TcpStream::connect(deployment.app.address).await.unwrap();
        connection.write_all(viewer.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes());
        viewers.push(connection);
    }
    assert!(answer_to(&deployment.app, PAGE).await.0.starts_with("HTTP/1.1 200 "));
    drop(viewers);
    eventually("a viewer who left makes room", PATIENCE, async || {
        answer_to(&deployment.app, viewer).await.0.starts_with("HTTP/1.1 200 ")
    })
    .await;
}
