//! Each release on its store, with the original's settings.

use voting_tests::http::Visitor;
use voting_tests::process::Service;
use voting_tests::servers::{MySql, Redis};

/// Starts voting-analytics and voting-app in these releases with these settings of the store.
async fn deploy(app: &str, analytics: &str, store: &[(&str, &str)]) -> (Visitor, Visitor, [Service; 2]) {
    let analytics = Service::start("voting-analytics", &[store, &[("RELEASE", analytics)]].concat()).await;
    let (host, port) = (analytics.address.ip().to_string(), analytics.address.port().to_string());
    let settings = [
        ("RELEASE", app),
        ("ANALYTICS_HOST", &host),
        ("ANALYTICS_PORT", &port),
        ("SHOWDETAILS", "true"),
        ("HOSTNAME", "pod-7"),
    ];
    let app = Service::start("voting-app", &[store, &settings].concat()).await;
    (Visitor::new(app.url("")), Visitor::new(analytics.url("")), [app, analytics])
}

async fn a_poll_runs(visitor: &Visitor, path: &str, summary: &str, after_reset: &str) {
    for choice in ["Cats", "Dogs", "Dogs", "Cats", "Dogs", "Dogs"] {
        visitor.vote(choice).await;
    }
    let page = visitor.get_served("/").await;
    assert_eq!(page.results(), summary);
    assert_eq!(page.header("x-voting-path"), path);
    visitor.vote("reset").await;
    assert_eq!(visitor.results().await, after_reset);
}

#[tokio::test]
async fn release_1_0_counts_in_redis() {
    let redis = Redis::own().await;
    let (host, port) = (redis.address().ip().to_string(), redis.address().port().to_string());
    let store = [("REDIS_HOST", host.as_str()), ("REDIS_PORT", port.as_str())];
    let (visitor, _, _services) = deploy("1.0", "1.0", &store).await;
    let path = "app=1.0, analytics=1.0, storage=1.0";
    a_poll_runs(&visitor, path, "Cats: 2 | Dogs: 4", "Cats: 0 | Dogs: 0").await;
    visitor.vote("Cats").await;
    assert_eq!(redis.query::<u64>("GET", &["Cats"]).await, 1);

    let (newer, _, _services) = deploy("1.0", "1.1", &store).await;
    assert_eq!(newer.results().await, "Cats: 1/1 (100%) | Dogs: 0/1 (0%)");
    newer.vote("reset").await;
    let path = "app=1.0, analytics=1.1, storage=1.0";
    a_poll_runs(&newer, path, "Cats: 2/6 (33%) | Dogs: 4/6 (67%)", "Cats: 0/0 (0%) | Dogs: 0/0 (0%)").await;
    let footer = newer.get_served("/").await.element("footer").unwrap();
    assert!(footer.contains("voting-app 1.0 · voting-storage 1.0 (Redis)"), "{footer}");
    assert!(footer.contains("pod-7"), "{footer}");
}

#[tokio::test]
async fn release_2_0_counts_in_mysql() {
    let mysql = MySql::database().await;
    let user = format!("svc{}", std::process::id());
    mysql
        .execute(&format!(
            "DROP USER IF EXISTS '{user}'@'%'; CREATE USER '{user}'@'%' IDENTIFIED BY 'a secret'; GRANT ALL ON {}.* TO '{user}'@'%'",
            mysql.name()
        ))
        .await;
    let (host, port) = (mysql.address().ip().to_string(), mysql.address().port().to_string());
    let store = [
        ("MYSQL_HOST", host.as_str()),
        ("MYSQL_PORT", port.as_str()),
        ("MYSQL_USER", user.as_str()),
        ("MYSQL_PASSWORD", "a secret"),
        ("MYSQL_DATABASE", mysql.name()),
    ];
    let (visitor, _, _services) = deploy("2.0", "2.0", &store).await;
    let path = "app=2.0, analytics=2.0, storage=2.0";
    a_poll_runs(&visitor, path, "Cats: 2/6 (33%) | Dogs: 4/6 (67%)", "Cats: 0/0 (0%) | Dogs: 0/0 (0%)").await;
    let footer = visitor.get_served("/").await.element("footer").unwrap();
    assert!(footer.contains("voting-app 2.0 · voting-storage 2.0 (MySQL)"), "{footer}");
}

#[tokio::test]
async fn every_valid_name_is_shown_and_counted() {
    let redis = Redis::own().await;
    let (host, port) = (redis.address().ip().to_string(), redis.address().port().to_string());
    let (first, second) = ("it's <b>\"100%\"</b> & ünï 😺", "x".repeat(100));
    let store = [
        ("REDIS_HOST", host.as_str()),
        ("REDIS_PORT", port.as_str()),
        ("VOTE1VALUE", first),
        ("VOTE2VALUE", second.as_str()),
        ("TITLE", "<script>alert(1)</script>"),
    ];
    let (visitor, _, _services) = deploy("1.0", "1.0", &store).await;
    let page = visitor.get("/").await;
    let value = page.attribute("button[name=vote]", "value").unwrap();
    assert_eq!(value, first);
    assert!(!page.text.contains("<script>alert") && !page.text.contains("<b>\""), "{}", page.text);
    let form = reqwest::Url::parse_with_params("http://x", [("vote", value)]).unwrap();
    assert_eq!(visitor.post("/", form.query().unwrap()).await.status, 303);
    assert_eq!(redis.query::<u64>("GET", &[first]).await, 1);
    let page = visitor.get_served("/").await;
    assert_eq!(page.element("#results").unwrap(), format!("{first}: 1 | {second}: 0"));
}
