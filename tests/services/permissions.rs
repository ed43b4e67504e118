//! The permissions that docs/operations.md lists are sufficient, and a missing one is named at once.

use std::time::Duration;

use voting_core::{Choice, Tally};
use voting_tests::Stopwatch;
use voting_tests::process::run;
use voting_tests::servers::{MySql, Redis};
use voting_tests::store::{ballot, open_store};

const PASSWORD: &str = "p/a#s?s%w";

/// The lines of the page that begin like this.
fn documented(start: &str) -> Vec<String> {
    let page = include_str!("../../docs/operations.md");
    let lines: Vec<_> = page.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect();
    assert!(!lines.is_empty(), "docs/operations.md has no line {start}");
    lines
}

/// Votes, resets, migrates, transfers and so on with these settings, which select this store.
async fn everything_works(store_name: &str, settings: &[(&str, &str)], url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let other = format!("sqlite:{}/other.db", folder.path().display());
    open_store(&other).cast(ballot(Choice::Second)).await.unwrap();
    let store = open_store(url);
    let tool = async |arguments: &[&str]| {
        let ended = run("voting-storage", arguments, settings).await;
        assert!(ended.success, "{store_name} {arguments:?}: {}", ended.stderr);
        ended.stdout
    };
    tool(&["migrate"]).await;
    store.cast(ballot(Choice::First)).await.unwrap();
    tool(&["check"]).await;
    tool(&["tally"]).await;
    tool(&["reset", "--yes"]).await;
    store.cast(ballot(Choice::First)).await.unwrap();
    let backup = folder.path().join("backup");
    std::fs::write(&backup, tool(&["export"]).await).unwrap();
    tool(&["import", backup.to_str().unwrap()]).await;
    tool(&["transfer", "--from", &other, "--to", store_name]).await;
    tool(&["transfer", "--from", store_name, "--to", &other]).await;
    tool(&["new-origin"]).await;
    let store = open_store(url);
    store.cast(ballot(Choice::First)).await.unwrap();
    assert_eq!(store.tally().await.unwrap(), Tally::new(2, 1));
}

#[tokio::test]
async fn the_documented_permissions_of_redis_are_sufficient() {
    let redis = Redis::with(&["--save", ""]).await;
    for line in documented("ACL SETUSER ") {
        let words: Vec<_> =
            line.split_whitespace().skip(1).map(|word| word.replace("PASSWORD", "secret")).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        redis.query::<()>("ACL", &words).await;
    }
    let url = format!("redis://voting:secret@{}", redis.address());
    // No URL has to contain the password.
    let bare = format!("redis://voting@{}", redis.address());
    everything_works(&bare, &[("STORAGE_URL", &bare), ("REDIS_PASSWORD", "secret")], &url).await;
}

#[tokio::test]
async fn each_missing_permission_of_redis_is_named_and_changes_nothing() {
    let redis = Redis::with(&["--save", ""]).await;
    let lines = documented("ACL SETUSER ");
    let user: Vec<_> =
        lines[0].split_whitespace().skip(1).map(|word| word.replace("PASSWORD", "secret")).collect();
    let commands: Vec<_> = user.iter().filter_map(|word| word.strip_prefix('+')).collect();
    assert!(commands.len() > 20, "{commands:?}");
    let url = format!("redis://voting@{}/1", redis.address());
    let settings = [("STORAGE_URL", url.as_str()), ("REDIS_PASSWORD", "secret")];
    let folder = tempfile::tempdir().unwrap();
    let other = format!("sqlite:{}/other.db", folder.path().display());
    open_store(&other).cast(ballot(Choice::Second)).await.unwrap();
    let backup = folder.path().join("backup");
    let export = run("voting-storage", &["export"], &[("STORAGE_URL", &other)]).await;
    std::fs::write(&backup, export.stdout).unwrap();
    let transfer = ["transfer", "--from", &other, "--to", &url];
    let import = ["import", backup.to_str().unwrap()];
    // The last one is for a Redis Cluster.
    for missing in commands.iter().filter(|command| **command != "cluster") {
        let denied = format!("-{missing}");
        let words: Vec<_> = user.iter().map(String::as_str).chain([denied.as_str()]).collect();
        redis.query::<()>("ACL", &words).await;
        let ended = run("voting-storage", &["check"], &settings).await;
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(said.to_lowercase().contains(missing), "without {missing}: {said}");
        assert!(!said.contains("does not hold"), "without {missing}: {said}");
        if !["info", "scan"].contains(missing) {
            assert!(!ended.success && said.contains("allowed: "), "without {missing}: {said}");
            assert_eq!(said.lines().count(), 1, "without {missing}: {said}");
        }
        let keys: Vec<String> =
            redis.query("EVAL", &["redis.call('SELECT', 1) return redis.call('KEYS', '*probe*')", "0"]).await;
        assert_eq!(keys, [""; 0], "without {missing}");
        for arguments in [&transfer[..], &import] {
            let ended = run("voting-storage", arguments, &settings).await;
            let says_so = ended.success || ended.stderr.contains("the votes were merged");
            assert!(!ended.stderr.contains("does not hold"), "without {missing}: {}", ended.stderr);
            let count = "redis.call('SELECT', 1) return redis.call('GET', 'Dogs') or '0'";
            let count: String = redis.query("EVAL", &[count, "0"]).await;
            assert!(
                says_so || count == "0",
                "without {missing} {arguments:?}: {}, {count} votes",
                ended.stderr
            );
        }
        redis.query::<()>("FLUSHALL", &[]).await;
    }
}

#[tokio::test]
async fn the_documented_privileges_of_mysql_are_sufficient() {
    let all = documented("GRANT ");
    // The takeover of a table of azure-vote is part of the migration, and needs the second line.
    privileges_suffice(&all[..1], false).await;
    privileges_suffice(&all, true).await;
}

async fn privileges_suffice(grants: &[String], with_azurevote: bool) {
    let mysql = MySql::own_with(&[]).await;
    mysql.execute(&format!("CREATE USER 'dbuser'@'%' IDENTIFIED BY '{PASSWORD}'")).await;
    for line in grants {
        mysql.execute(&line.replace("azurevote", mysql.name())).await;
    }
    if with_azurevote {
        mysql.execute("CREATE TABLE azurevote (voteid INT PRIMARY KEY, votevalue VARCHAR(45))").await;
    }
    let (host, port) = (mysql.address().ip().to_string(), mysql.address().port().to_string());
    let settings = [
        ("MYSQL_HOST", host.as_str()),
        ("MYSQL_PORT", port.as_str()),
        ("MYSQL_PASSWORD", PASSWORD),
        ("MYSQL_DATABASE", mysql.name()),
    ];
    let url = voting_storage::StoreUrl::mysql(&host, mysql.address().port(), "dbuser", mysql.name());
    let url = url.unwrap().with_password(&PASSWORD.into());
    everything_works("mysql", &settings, &url.expose().unwrap()).await;
}

/// Checks that `migrate`, which waits ten minutes for a store, ends at once with one line that has this part. Other commands
/// may be told first that the store was not migrated.
async fn is_named_at_once(url: &str, part: &str) {
    for arguments in [&["migrate"][..], &["check"], &["tally"]] {
        let stopwatch = Stopwatch::start();
        let ended = run("voting-storage", arguments, &[("STORAGE_URL", url)]).await;
        assert!(!ended.success, "{arguments:?}");
        let needs_migration = arguments != ["migrate"] && ended.stderr.contains("`voting-storage migrate`");
        assert!(ended.stderr.contains(part) || needs_migration, "{}", ended.stderr);
        assert!(ended.stderr.contains("allowed: "), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
        stopwatch.assert_within(Duration::from_secs(2), format!("{arguments:?}"));
    }
}

#[tokio::test]
async fn a_redis_that_denies_access_is_named_at_once() {
    let redis = Redis::with(&["--save", "", "--requirepass", "other"]).await;
    is_named_at_once(&format!("redis://{}", redis.address()), "docs/operations.md").await;
    is_named_at_once(&format!("redis://:secret@{}", redis.address()), "uthentication").await;
    let redis = Redis::with(&["--save", ""]).await;
    redis.query::<()>("ACL", &["SETUSER", "voting", "on", ">secret", "~*", "+ping"]).await;
    is_named_at_once(&format!("redis://voting:secret@{}", redis.address()), "docs/operations.md").await;
    // Scripts are allowed, but not the commands in them.
    redis.query::<()>("ACL", &["SETUSER", "voting", "+eval", "+evalsha", "+script"]).await;
    is_named_at_once(&format!("redis://voting:secret@{}", redis.address()), "docs/operations.md").await;
}

#[tokio::test]
async fn a_mysql_that_denies_access_is_named_at_once() {
    let mysql = MySql::own_with(&[]).await;
    let url = |user: &str| format!("mysql://{user}:secret@{}/{}", mysql.address(), mysql.name());
    is_named_at_once(&url("nobody"), "Access denied").await;
    mysql.execute("CREATE USER 'weak'@'%' IDENTIFIED BY 'secret'").await;
    is_named_at_once(&url("weak"), "denied").await;
    mysql.execute(&format!("GRANT SELECT ON {}.* TO 'weak'@'%'", mysql.name())).await;
    is_named_at_once(&url("weak"), "command denied").await;
    mysql.execute("CREATE USER 'locked'@'%' IDENTIFIED BY 'secret' ACCOUNT LOCK").await;
    is_named_at_once(&url("locked"), "locked").await;
}

/// Forwards connections to a server, whose function GET_LOCK is not found.
async fn without_get_lock(server: std::net::SocketAddr) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(server).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                    let name = b"GET_LOCK";
                    if let Some(place) = buffer[..length].windows(name.len()).position(|part| part == name) {
                        buffer[place..place + name.len()].copy_from_slice(b"NOT_LOCK");
                    }
                    to_server.write_all(&buffer[..length]).await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_forbidden_lock_is_named_at_once() {
    let mysql = MySql::database().await;
    // Without TLS, so that the statement can be replaced on its way.
    let url = format!("{}?ssl-mode=DISABLED", mysql.url_at(without_get_lock(mysql.address()).await));
    is_named_at_once(&url, "GET_LOCK, by which replicas take turns").await;
}
