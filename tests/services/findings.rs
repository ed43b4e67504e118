//! What endangers the promises of a store, as the operator sees it: in `/readyz` and in `voting-storage check`.

use voting_core::Choice;
use voting_tests::clock::FakeClock;
use voting_tests::http::Visitor;
use voting_tests::process::{Service, run};
use voting_tests::servers::{MySql, Redis};
use voting_tests::store::{ballot, open_store};

/// `/readyz` of each service, and `voting-storage check`.
async fn reports(url: &str, variables: &[(String, String)]) -> [(bool, String); 3] {
    let release = if url.starts_with("mysql:") { "2.0" } else { "1.0" };
    let variables = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let settings: Vec<_> = variables.chain([("STORAGE_URL", url)]).collect();
    let ended = run("voting-storage", &["check"], &settings).await;
    let settings = [&settings[..], &[("RELEASE", release)]].concat();
    let app = Service::start("voting-app", &settings).await;
    let analytics = Service::start("voting-analytics", &settings).await;
    let readyz = async |service: &Service| {
        let answer = Visitor::new(service.admin_url("")).get_served("/readyz").await;
        (answer.status == 200, answer.text)
    };
    [readyz(&app).await, readyz(&analytics).await, (ended.success, ended.stdout + &ended.stderr)]
}

#[tokio::test]
async fn a_clock_that_differs_is_reported_and_ballots_are_taken() {
    let two_hours = |sign: i64| FakeClock::ahead(sign * 7200);
    let (of_store, of_process) = (two_hours(-1), two_hours(1));
    let (redis, other) = (Redis::with_clock(&of_store).await, Redis::database().await);
    let mysql = MySql::database().await;
    open_store(&mysql.url()).tally().await.unwrap();
    for (url, variables) in [
        (redis.url(), Vec::new()),
        (other.url(), of_process.variables()),
        (mysql.url(), of_process.variables()),
    ] {
        for (success, text) in reports(&url, &variables).await {
            assert!(success, "{url}: {text}");
            assert!(
                text.contains("s behind the clock of this machine; allowed: up to 600 s"),
                "{url}: {text}"
            );
        }
    }
    for url in [other.url(), mysql.url()] {
        for (success, text) in reports(&url, &[]).await {
            assert!(success && !text.contains("clock"), "{url}: {text}");
        }
    }
}

#[tokio::test]
async fn a_redis_that_may_evict_ballot_ids_is_reported_and_refused_once_it_did() {
    let settings = ["--save", "", "--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru"];
    let redis = Redis::with(&settings).await;
    for (success, text) in reports(&redis.url(), &[]).await {
        assert!(
            success && text.contains("maxmemory-policy is allkeys-lru: no ballots will be taken"),
            "{text}"
        );
    }
    // Another client fills the memory.
    let value = "x".repeat(100_000);
    for key in 0..60 {
        redis.query::<()>("SET", &[&format!("other:{key}"), &value]).await;
    }
    let [app, analytics, check] = reports(&redis.url(), &[]).await;
    for (success, text) in [&app, &analytics, &check] {
        let allowed = "allowed: maxmemory-policy noeviction or volatile-*, or REDIS_ALLOW_EVICTION=true";
        assert!(!success && text.contains("so no ballots are taken") && text.contains(allowed), "{text}");
    }
    assert!(app.1.contains("[-]store failed") && check.1.contains("takes no ballots"), "{app:?} {check:?}");
    let accepting = [("REDIS_ALLOW_EVICTION".to_owned(), "true".to_owned())];
    for (success, text) in reports(&redis.url(), &accepting).await {
        assert!(success && text.contains("ballots may count twice"), "{text}");
    }
}

#[tokio::test]
async fn a_full_or_read_only_redis_is_exported_and_previewed() {
    let (full, read_only) = (Redis::with(&["--save", ""]).await, Redis::with(&["--save", ""]).await);
    let (empty, mysql) = (Redis::with(&["--save", ""]).await, MySql::database().await);
    for redis in [&full, &read_only] {
        for choice in [Choice::First, Choice::First, Choice::Second] {
            open_store(&redis.url()).cast(ballot(choice)).await.unwrap();
        }
    }
    open_store(&mysql.url()).tally().await.unwrap();
    full.query::<()>("CONFIG", &["SET", "maxmemory", "1"]).await;
    for replica in [&read_only, &empty] {
        replica.query::<()>("REPLICAOF", &["127.0.0.1", "1"]).await;
    }
    for (redis, first, second) in [(&full, 2, 1), (&read_only, 2, 1), (&empty, 0, 0)] {
        let url = redis.url();
        let export = run("voting-storage", &["export"], &[("STORAGE_URL", &url)]).await;
        assert!(export.success, "{}", export.stderr);
        assert_eq!(export.stdout.matches("\"votes\":2").count(), first / 2, "{}", export.stdout);
        for (from, to, after) in
            [(&url, &mysql.url(), [first, second]), (&mysql.url(), &url, [first, second])]
        {
            let arguments = ["transfer", "--dry-run", "--from", from, "--to", to];
            let preview = run("voting-storage", &arguments, &[]).await;
            assert!(preview.success, "{}", preview.stderr);
            for (choice, votes) in ["Cats", "Dogs"].into_iter().zip(after) {
                let row = preview.stdout.lines().find(|line| line.starts_with(choice)).unwrap();
                assert!(row.ends_with(&format!(" {votes}")), "{row}");
            }
        }
        let transfer = ["transfer", "--from", &mysql.url(), "--to", &url];
        assert!(!run("voting-storage", &transfer, &[]).await.success, "the store takes writes");
    }
}

#[tokio::test]
async fn settings_by_which_a_crash_loses_acknowledged_votes_are_reported() {
    let check = async |url: &str| {
        let ended = run("voting-storage", &["check"], &[("STORAGE_URL", url)]).await;
        assert!(ended.success, "{}", ended.stderr);
        ended.stdout + &ended.stderr
    };
    let redis = Redis::own().await;
    let report = check(&redis.url()).await;
    assert!(!report.contains("note: "), "{report}");
    redis.query::<()>("CONFIG", &["SET", "appendfsync", "everysec"]).await;
    let report = check(&redis.url()).await;
    assert!(report.contains("note: appendfsync is everysec, so a crash of the machine may lose"), "{report}");
    redis.query::<()>("CONFIG", &["SET", "appendonly", "no"]).await;
    let report = check(&redis.url()).await;
    assert!(report.contains("note: the append-only file of Redis is off"), "{report}");

    let mysql = MySql::own_with(&["--log-bin=binlog", "--server-id=1", "--sync-binlog=1"]).await;
    open_store(&mysql.url()).tally().await.unwrap();
    let report = check(&mysql.url()).await;
    assert!(!report.contains("note: "), "{report}");
    mysql.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2, GLOBAL sync_binlog = 0").await;
    let report = check(&mysql.url()).await;
    let expected = "note: innodb_flush_log_at_trx_commit is 2 and sync_binlog is 0, so a crash of the machine may lose the \
                    newest acknowledged votes; allowed: innodb_flush_log_at_trx_commit and sync_binlog = 1";
    assert!(report.contains(expected), "{report}");
}
