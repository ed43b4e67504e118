//! Invalid input: a 4xx response with a page that names the allowed values; the store is unchanged.

use std::net::SocketAddr;

use reqwest::header::{CONTENT_TYPE, ORIGIN};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use voting_core::BallotId;
use voting_tests::deployment::Deployment;
use voting_tests::figure;
use voting_tests::http::{Answer, Visitor, send};
use voting_tests::servers::{MySql, Redis};

const FORM: &str = "application/x-www-form-urlencoded";

/// Sends every invalid request. Returns the responses with their expected status and a part of the page.
async fn bad_requests(visitor: &Visitor) -> Vec<(&'static str, Answer, u16, &'static str)> {
    let form = |body: String| visitor.request("POST", "/").header(CONTENT_TYPE, FORM).body(body);
    let allowed = "Allowed: Cats or Dogs.";
    let mut answers = Vec::new();
    for (what, request, status, part) in [
        ("nothing at all", visitor.request("POST", "/"), 422, allowed),
        ("an empty form", form(String::new()), 422, allowed),
        ("vote[]=x", form("vote[]=x".into()), 422, allowed),
        ("an unknown vote", form("vote=Birds".into()), 422, allowed),
        ("another case", form("vote=cats".into()), 422, allowed),
        ("a key of Redis", form("vote=foo:bar".into()), 422, allowed),
        ("NUL", form("vote=Cats%00".into()), 422, allowed),
        ("no UTF-8", form("vote=%ff%fe".into()), 422, allowed),
        ("two votes", form("vote=Cats&vote=Dogs".into()), 422, allowed),
        ("46 characters", form(format!("vote={}", "x".repeat(46))), 422, allowed),
        ("1 MB", form(format!("vote={}", "x".repeat(1024 * 1024))), 413, "16384 bytes"),
        (
            "half a multipart form",
            visitor.request("POST", "/").header(CONTENT_TYPE, "multipart/form-data; boundary=x").body("--x"),
            422,
            allowed,
        ),
        ("JSON", visitor.request("POST", "/").header(CONTENT_TYPE, "application/json").body("{}"), 415, FORM),
        ("no content type", visitor.request("POST", "/").body("vote=Cats"), 415, FORM),
        ("a bad ballot", form("vote=Cats&ballot=1".into()), 422, "UUID"),
        ("an empty ballot", form("vote=Cats&ballot=".into()), 422, "UUID"),
        (
            "an old ballot",
            form("vote=Cats&ballot=00000000-0000-7000-8000-000000000000".into()),
            422,
            "for a day",
        ),
        (
            "a ballot from the future",
            form("vote=Cats&ballot=ffffffff-ffff-7000-8000-000000000000".into()),
            422,
            "for a day",
        ),
        (
            "another site",
            form("vote=Cats".into()).header("sec-fetch-site", "cross-site"),
            403,
            "another site",
        ),
        (
            "another origin",
            form("vote=Cats".into()).header(ORIGIN, "http://evil.example"),
            403,
            "another site",
        ),
        ("a frame's origin", form("vote=Cats".into()).header(ORIGIN, "null"), 403, "another site"),
        ("another method", visitor.request("PUT", "/"), 405, "Allow"),
        ("another page", visitor.request("GET", "/admin"), 404, "poll"),
        ("metrics", visitor.request("GET", "/metrics"), 404, "poll"),
        ("no asset", visitor.request("GET", "/assets/x/none.css"), 404, "poll"),
        ("a path up", visitor.request("GET", "/assets/x/..%2f..%2fCargo.toml"), 404, "poll"),
        ("a long path up", visitor.request("GET", "/assets/%2e%2e/%2e%2e/%2e%2e/etc/passwd"), 404, "poll"),
    ] {
        answers.push((what, send(request).await, status, part));
    }
    answers
}

async fn bad_input_is_rejected(deployment: &Deployment) {
    let visitor = deployment.visitor();
    visitor.vote("Cats").await;
    let before = visitor.results().await;
    let (answers, mut foreign) = (bad_requests(&visitor).await, 0);
    for (what, answer, status, part) in answers {
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        assert!(answer.text.contains(part), "{what}: {}", answer.text);
        assert!(answer.element("h1").is_some(), "{what}: {}", answer.text);
        assert_ne!(answer.header("content-security-policy"), "", "{what}");
        assert_eq!(visitor.results().await, before, "{what}");
        foreign += u32::from(status == 403);
    }
    figure("forms of other sites", format!("{foreign} of {foreign} got a 403, none counted"));
    visitor.vote("Cats").await;
}

#[tokio::test]
async fn only_a_form_without_a_ballot_is_refused_before_the_store_is_asked() {
    let redis = Redis::database().await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
    let renamed = Deployment::start("1.0", "1.1", &redis.url(), &[("VOTE1VALUE", "Birds")]).await;
    let visitor = deployment.visitor();
    let id = BallotId::new();
    let ballot = format!("ballot={id}");
    let form = |body: String| visitor.request("POST", "/").header(CONTENT_TYPE, FORM).body(body);
    let counted = send(form(format!("vote=Cats&{ballot}"))).await;
    assert_eq!(counted.header("x-vote-outcome"), "counted");
    let renamed = renamed.visitor().request("POST", "/").header(CONTENT_TYPE, FORM);
    for (what, request, outcome) in [
        ("another name", form(format!("vote=Birds&{ballot}")), "unconfirmed"),
        ("renamed choices", renamed.body(format!("vote=Cats&{ballot}")), "unconfirmed"),
        ("no vote", form(ballot.clone()), "unconfirmed"),
        ("two ballots", form(format!("vote=Cats&{ballot}&ballot={}", BallotId::new())), "unconfirmed"),
        (
            "another site",
            form(format!("vote=Cats&{ballot}")).header(ORIGIN, "http://evil.example"),
            "unconfirmed",
        ),
        ("too large", form(format!("vote=Cats&{ballot}&x={}", "x".repeat(20_000))), "unconfirmed"),
        ("a text", visitor.request("POST", "/").body(format!("vote=Cats&{ballot}")), "unconfirmed"),
        ("no ballot", form("vote=Birds".into()), "refused"),
        ("no ballot id", form("vote=Cats&ballot=1".into()), "refused"),
    ] {
        let answer = send(request).await;
        assert!((400..500).contains(&answer.status), "{what}: {}", answer.status);
        assert_eq!(answer.header("x-vote-outcome"), outcome, "{what}");
    }
    let again = send(form(format!("vote=Cats&{ballot}"))).await;
    assert_eq!(again.header("x-vote-outcome"), "already-counted");
}

#[tokio::test]
async fn bad_input_changes_nothing_in_redis() {
    let redis = Redis::database().await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
    redis.query::<()>("SET", &["foo:bar", "1"]).await;
    bad_input_is_rejected(&deployment).await;
    assert_eq!(redis.query::<u64>("GET", &["foo:bar"]).await, 1);
    let mut keys: Vec<String> = redis.query("KEYS", &["*"]).await;
    keys.retain(|key| !key.starts_with("voting:{Cats}:ballots:"));
    keys.sort();
    // The counters hold the origin of the store, which its first vote sets; the minutes are the index of the ballots.
    assert_eq!(
        keys,
        ["Cats", "foo:bar", "voting:{Cats}:counters", "voting:{Cats}:minutes", "voting:{Dogs}:counters"]
    );
    assert_eq!(redis.query::<u64>("GET", &["Cats"]).await, 2);
}

#[tokio::test]
async fn bad_input_changes_nothing_in_mysql() {
    let mysql = MySql::database().await;
    let deployment = Deployment::start("2.0", "2.0", &mysql.url(), &[]).await;
    bad_input_is_rejected(&deployment).await;
    let mut connection = mysql.connect().await;
    let ballots: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM ballots").fetch_one(&mut connection).await.unwrap();
    let choices: Vec<Vec<u8>> = sqlx::query_scalar("SELECT choice FROM tallies WHERE choice <> ''")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!((ballots, choices), (2, vec![b"Cats".to_vec()]));
}

/// Sends this and returns the response, up to the end of the connection.
async fn answer_to(address: SocketAddr, raw: &str) -> String {
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    connection.write_all(raw.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap_or_else(|error| panic!("{error} after {answer:?}"));
    answer
}

#[tokio::test]
async fn invalid_http_is_rejected_with_what_is_allowed_and_the_next_request_is_served() {
    let redis = Redis::database().await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
    let (app, analytics) = (&deployment.app, &deployment.analytics);
    let huge = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(200_000));
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(65_600));
    let fields = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: x\r\n".repeat(101));
    for address in [app.address, app.admin, analytics.address, analytics.admin] {
        for (raw, status, part) in [
            ("\0\0\0\r\n\r\n", "400", "Allowed: a line METHOD TARGET HTTP/1.1"),
            ("GET / HTTP/1.1\r\nHost x\r\n\r\n", "400", "Allowed: a line METHOD TARGET HTTP/1.1"),
            (&huge, "431", "Allowed: up to 65536 bytes"),
            (&path, "431", "Allowed: up to 65536 bytes"),
            (&fields, "431", "in up to 100 fields"),
        ] {
            let answer = answer_to(address, raw).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
            let (head, text) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("content-type: text/plain") && text.contains(part), "{answer:?}");
            assert!(head.contains(&format!("content-length: {}", text.len())), "{answer:?}");
        }
    }
    let both = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n";
    let answer = answer_to(app.address, both).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    assert_eq!(deployment.visitor().results().await, "Cats: 0/0 (0%) | Dogs: 0/0 (0%)");
}

#[tokio::test]
async fn the_cookies_of_sign_in_proxies_are_accepted_up_to_64_kb_of_headers() {
    let redis = Redis::database().await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
    let request = |start: &str, bytes: usize, body: &str| {
        let fields = format!("Host: x\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        let head = format!("{start} HTTP/1.1\r\n{fields}Content-Type: {FORM}\r\nCookie: a=");
        format!("{head}{}\r\n\r\n{body}", "x".repeat(bytes - head.len() - 4))
    };
    for (address, start, body, status) in [
        (deployment.app.address, "GET /", "", 200),
        (deployment.app.address, "POST /", "vote=Cats", 303),
        (deployment.analytics.address, "GET /analytics", "", 200),
    ] {
        for (bytes, status) in [(33 * 1024, status), (64 * 1024 - 1, status), (64 * 1024 + 1, 431)] {
            let answer = answer_to(address, &request(start, bytes, body)).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{start} {bytes}: {answer:?}");
        }
    }
    assert_eq!(deployment.visitor().results().await, "Cats: 2/2 (100%) | Dogs: 0/2 (0%)");
}
