//! `voting-storage`, the operator's tool.

use voting_core::Choice;
use voting_tests::process::{Ended, Service, run};
use voting_tests::servers::{MySql, Redis};
use voting_tests::store::{ballot, open_store};
use voting_tests::{ClosedPort, PATIENCE, eventually};

async fn tool(arguments: &[&str], url: &str) -> Ended {
    run("voting-storage", arguments, &[("STORAGE_URL", url)]).await
}

/// The numbers in a row of the table that the tool prints.
fn row(ended: &Ended, choice: &str) -> Vec<u64> {
    assert!(ended.success, "{}", ended.stderr);
    let line = ended.stdout.lines().find(|line| line.starts_with(choice)).unwrap();
    line.split_whitespace().skip(1).map(|number| number.parse().unwrap()).collect()
}

async fn cast(url: &str, choice: Choice, votes: u32) {
    let store = open_store(url);
    for _ in 0..votes {
        store.cast(ballot(choice)).await.unwrap();
    }
}

#[tokio::test]
async fn the_tool_migrates_checks_counts_and_resets() {
    let mysql = MySql::database().await;
    let url = mysql.url();
    assert!(tool(&["migrate"], &url).await.success);
    assert!(tool(&["check"], &url).await.success);
    cast(&url, Choice::First, 3).await;
    let tally = tool(&["tally"], &url).await;
    assert_eq!((row(&tally, "Cats"), row(&tally, "Dogs")), (vec![3], vec![0]));

    let refused = tool(&["reset"], &url).await;
    assert!(!refused.success && refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert_eq!(row(&tool(&["tally"], &url).await, "Cats"), [3]);
    assert!(tool(&["reset", "--yes"], &url).await.success);
    assert_eq!(row(&tool(&["tally"], &url).await, "Cats"), [0]);
}

/// The calls that change nothing, on the store at this URL.
async fn calls_that_only_read(url: &str) -> Vec<Ended> {
    let other = Redis::database().await.url();
    let dry_run = |from, to| ["transfer", "--from", from, "--to", to, "--dry-run"];
    let mut calls = Vec::new();
    for arguments in [&["check"][..], &["tally"], &["export"], &dry_run(url, &other), &dry_run(&other, url)] {
        calls.push(tool(arguments, url).await);
    }
    calls.push(tool(&["transfer", "--from", url, "--to", &other], "redis://unused").await);
    calls
}

#[tokio::test]
async fn only_a_migration_or_a_target_creates_or_takes_over_anything() {
    let mysql = MySql::database().await;
    mysql
        .execute(
            "CREATE TABLE azurevote (voteid INT AUTO_INCREMENT PRIMARY KEY, votevalue VARCHAR(45)); \
             INSERT INTO azurevote (votevalue) VALUES ('Cats'), ('Cats'), ('Dogs')",
        )
        .await;
    for ended in calls_that_only_read(&mysql.url()).await {
        assert!(!ended.success && ended.stderr.contains("`voting-storage migrate`"), "{}", ended.stderr);
    }
    mysql.execute("INSERT INTO azurevote (votevalue) VALUES ('Dogs')").await;
    assert!(tool(&["migrate"], &mysql.url()).await.success);
    assert_eq!(row(&tool(&["tally"], &mysql.url()).await, "Dogs"), [2]);

    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/typo.db", folder.path().display());
    for ended in calls_that_only_read(&url).await {
        assert!(!ended.success && ended.stderr.contains("there is no such file"), "{}", ended.stderr);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_transfer_can_be_repeated() {
    let (redis, mysql) = (Redis::database().await, MySql::database().await);
    cast(&redis.url(), Choice::First, 2).await;
    cast(&mysql.url(), Choice::Second, 1).await;
    let transfer = async |options: &[&str]| {
        let (from, to) = (redis.url(), mysql.url());
        run("voting-storage", &[&["transfer", "--from", &from, "--to", &to], options].concat(), &[]).await
    };
    assert_eq!(row(&transfer(&["--dry-run"]).await, "Cats"), [2, 0, 2]);
    assert_eq!(row(&transfer(&[]).await, "Cats"), [2, 0, 2]);
    assert_eq!(row(&transfer(&[]).await, "Cats"), [2, 2, 2]);
    assert_eq!(row(&transfer(&[]).await, "Dogs"), [0, 1, 1]);
}

#[tokio::test]
async fn a_backup_can_be_imported_repeatedly() {
    let (redis, mysql) = (Redis::database().await, MySql::database().await);
    cast(&redis.url(), Choice::First, 2).await;
    let backup = tool(&["export"], &redis.url()).await;
    assert!(backup.success);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.jsonl");
    std::fs::write(&file, &backup.stdout).unwrap();
    for before in [0, 2] {
        let import = tool(&["import", file.to_str().unwrap()], &mysql.url()).await;
        assert_eq!(row(&import, "Cats"), [2, before, 2]);
    }
    std::fs::write(&file, "Cats,2\n").unwrap();
    let refused = tool(&["import", file.to_str().unwrap()], &mysql.url()).await;
    assert!(!refused.success && refused.stderr.contains("line 1: not a backup"), "{}", refused.stderr);
    assert_eq!(row(&tool(&["tally"], &mysql.url()).await, "Cats"), [2]);
}

#[tokio::test]
async fn errors_are_one_line() {
    let down = ClosedPort::reserve();
    let down = format!("redis://:secret@{}", down.address());
    for (ended, part) in [
        (run("voting-storage", &["tally"], &[]).await, "STORAGE_URL"),
        (tool(&["check"], &down).await, "store unavailable"),
        (
            tool(&["tally"], "postgres://u:secret@h").await,
            "STORAGE_URL: (not shown) is not the URL of a store",
        ),
        (tool(&["import", "/nowhere.jsonl"], &down).await, "/nowhere.jsonl can't be read"),
    ] {
        assert!(!ended.success);
        assert!(ended.stderr.contains(part) && ended.stderr.lines().count() == 1, "{}", ended.stderr);
        assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_transfer_takes_its_stores_from_settings_on_either_side() {
    const PASSWORD: &str = "p/a#s?s%w@r:d &";
    let redis = Redis::with(&["--save", ""]).await;
    let mysql = MySql::own_with(&[]).await;
    mysql
        .execute(&format!(
            "CREATE USER 'dbuser'@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO 'dbuser'@'%'"
        ))
        .await;
    cast(&redis.url(), Choice::First, 2).await;
    let (redis, database) = (redis, mysql.name().to_owned());
    let [(redis_host, redis_port), (mysql_host, mysql_port)] = [redis.address(), mysql.address()]
        .map(|address| (address.ip().to_string(), address.port().to_string()));
    let settings = [
        ("REDIS_HOST", redis_host.as_str()),
        ("REDIS_PORT", &redis_port),
        ("MYSQL_HOST", &mysql_host),
        ("MYSQL_PORT", &mysql_port),
        ("MYSQL_PASSWORD", PASSWORD),
        ("MYSQL_DATABASE", &database),
    ];
    let transfer = async |from: &str, to: &str| {
        let direction = [("FROM_URL", from), ("TO_URL", to)];
        run("voting-storage", &["transfer"], &[&settings[..], &direction].concat()).await
    };
    assert_eq!(row(&transfer("redis", "mysql").await, "Cats"), [2, 0, 2]);
    cast(&mysql.url(), Choice::First, 1).await;
    assert_eq!(row(&transfer("mysql", "redis").await, "Cats"), [3, 2, 3]);
    let refused = transfer("mysql", "mysql").await;
    assert!(
        refused.stderr.contains("same origin") && refused.stderr.lines().count() == 1,
        "{}",
        refused.stderr
    );
    let unknown = transfer("postgres", "mysql").await;
    assert!(
        unknown.stderr.contains("allowed: redis://") && unknown.stderr.contains("redis or mysql"),
        "{}",
        unknown.stderr
    );
}

#[tokio::test]
async fn a_backup_that_was_cut_off_is_rejected_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite:{}/{name}.db", folder.path().display());
    cast(&url("a"), Choice::First, 2).await;
    cast(&url("a"), Choice::Second, 1).await;
    let backup = tool(&["export"], &url("a")).await.stdout;
    let file = folder.path().join("backup");
    for lines in 0..3 {
        let cut: String = backup.lines().take(lines).map(|line| format!("{line}\n")).collect();
        std::fs::write(&file, cut).unwrap();
        let refused = tool(&["import", file.to_str().unwrap()], &url("b")).await;
        assert!(!refused.success && refused.stderr.lines().count() == 1, "{lines}: {}", refused.stderr);
    }
    assert!(!folder.path().join("b.db").exists());
    // With a byte order mark.
    std::fs::write(&file, format!("\u{feff}{backup}")).unwrap();
    assert_eq!(row(&tool(&["import", file.to_str().unwrap()], &url("b")).await, "Cats"), [2, 0, 2]);
    // A backup of an empty store is a backup.
    assert!(tool(&["migrate"], &url("c")).await.success);
    let empty = tool(&["export"], &url("c")).await.stdout;
    std::fs::write(&file, empty).unwrap();
    assert_eq!(row(&tool(&["import", file.to_str().unwrap()], &url("b")).await, "Cats"), [0, 2, 2]);
}

#[tokio::test]
async fn votes_of_choices_with_other_names_are_reported() {
    let (redis, mysql) = (Redis::database().await, MySql::database().await);
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite:{}/votes.db", folder.path().display());
    for (url, release) in [(redis.url(), "1.0"), (mysql.url(), "2.0"), (sqlite.clone(), "2.0")] {
        cast(&url, Choice::First, 3).await;
        cast(&url, Choice::Second, 1).await;
        let settings = |first| [("STORAGE_URL", url.as_str()), ("VOTE1VALUE", first), ("RELEASE", release)];
        let target = format!("sqlite:{}/{release}-other.db", folder.path().display());
        let transfer = ["transfer", "--from", &url, "--to", &target, "--dry-run"];
        assert!(run("voting-storage", &["migrate"], &[("STORAGE_URL", &target)]).await.success);
        for arguments in [&["check"][..], &["tally"], &["export"], &transfer] {
            let ended = run("voting-storage", arguments, &settings("Cats")).await;
            assert!(
                ended.success && !ended.stderr.contains("note: "),
                "{url} {arguments:?}: {}",
                ended.stderr
            );
            let ended = run("voting-storage", arguments, &settings("Birds")).await;
            assert!(ended.success, "{url} {arguments:?}: {}", ended.stderr);
            let note =
                "votes of choices that are not on this poll are kept and not shown: \"Cats\" 3; allowed: ";
            assert!(ended.stderr.starts_with("note: ") && ended.stderr.contains(note), "{}", ended.stderr);
            assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
            assert!(!ended.stdout.contains("Cats"), "{}", ended.stdout);
        }
        for program in ["voting-app", "voting-analytics"] {
            let log = folder.path().join(format!("{release}-{program}.log"));
            let _service = Service::start_logged(program, &settings("Birds"), Some(&log)).await;
            eventually("the votes are reported", PATIENCE, async || {
                let log = std::fs::read_to_string(&log).unwrap();
                log.lines().any(|line| {
                    line.contains("the store has votes of other choices") && line.contains("Cats")
                })
            })
            .await;
            std::fs::remove_file(&log).unwrap();
        }
        assert!(run("voting-storage", &["reset", "--yes"], &settings("Cats")).await.success);
        let ended = run("voting-storage", &["tally"], &settings("Birds")).await;
        assert!(ended.success && ended.stderr.is_empty(), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn the_tool_reads_votes_of_names_that_look_alike() {
    let redis = Redis::database().await;
    redis.query::<()>("MSET", &["cats", "3", "CATS", "4"]).await;
    let settings =
        [("STORAGE_URL", redis.url()), ("VOTE1VALUE", "cats".into()), ("VOTE2VALUE", "CATS".into())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let tally = run("voting-storage", &["tally"], &settings).await;
    assert_eq!((row(&tally, "cats"), row(&tally, "CATS")), (vec![3], vec![4]));
    assert!(run("voting-storage", &["export"], &settings).await.success);
}
