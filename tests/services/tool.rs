//! `voting-storage`, the operator's tool.

use voting_core::Choice;
use voting_tests::ClosedPort;
use voting_tests::process::{Ended, run};
use voting_tests::servers::{MySql, Redis};
use voting_tests::store::{ballot, open_store};

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
        (tool(&["import", "/nowhere.jsonl"], &down).await, "can't read /nowhere.jsonl"),
    ] {
        assert!(!ended.success);
        assert!(ended.stderr.contains(part) && ended.stderr.lines().count() == 1, "{}", ended.stderr);
        assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
    }
}
