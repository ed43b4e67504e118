//! Invalid input: a 4xx response with a page that names the allowed values; the store is unchanged.

use reqwest::header::{CONTENT_TYPE, COOKIE, ORIGIN};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use voting_tests::deployment::Deployment;
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
            "33 KB of cookies",
            form("vote=Cats".into()).header(COOKIE, "x".repeat(33 * 1024)),
            431,
            "32768 bytes",
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
    for (what, answer, status, part) in bad_requests(&visitor).await {
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        assert!(answer.text.contains(part), "{what}: {}", answer.text);
        assert!(answer.element("h1").is_some(), "{what}: {}", answer.text);
        assert_ne!(answer.header("content-security-policy"), "", "{what}");
        assert_eq!(visitor.results().await, before, "{what}");
    }
    visitor.vote("Cats").await;
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

#[tokio::test]
async fn invalid_http_is_rejected_and_the_next_request_is_served() {
    let redis = Redis::database().await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
    let huge = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(200_000));
    let both = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nvote=Cats";
    for (raw, statuses) in
        [("\0\0\0\r\n\r\n", vec!["400", ""]), (&huge, vec!["431"]), (both, vec!["400", "422"])]
    {
        let mut connection = tokio::net::TcpStream::connect(deployment.app.address).await.unwrap();
        connection.write_all(raw.as_bytes()).await.unwrap();
        let mut head = vec![0; 12];
        let length = connection.read(&mut head).await.unwrap_or(0);
        let status =
            std::str::from_utf8(&head[..length]).unwrap_or_default().split(' ').nth(1).unwrap_or_default();
        assert!(statuses.contains(&status), "{status:?} to {}", &raw[..30.min(raw.len())]);
    }
    assert_eq!(deployment.visitor().results().await, "Cats: 0/0 (0%) | Dogs: 0/0 (0%)");
}
