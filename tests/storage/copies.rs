//! Copies of a store, restored snapshots, and stores that are known by two names: no vote is lost or shown twice.

use std::path::Path;
use std::sync::Arc;

use voting_core::{Choice, Tally};
use voting_storage::transfer::{TransferError, import, preview, transfer};
use voting_storage::{StoreError, VoteStore};
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::{MySql, Redis};
use voting_tests::store::{ballot, open_store};
use voting_tests::{PATIENCE, eventually, figure};

async fn vote(store: &Arc<dyn VoteStore>, votes: u32) {
    for _ in 0..votes {
        store.cast(ballot(Choice::First)).await.unwrap();
    }
}

/// Transfers in both directions; both stores have these votes afterwards.
async fn all_votes_are_in_both(stores: [&Arc<dyn VoteStore>; 2], votes: u64, case: &str) {
    for (from, to) in [(0, 1), (1, 0), (0, 1)] {
        transfer(stores[from].as_ref(), stores[to].as_ref()).await.unwrap();
    }
    for store in stores {
        assert_eq!(store.tally().await.unwrap(), Tally::new(votes, 0));
    }
    figure(case, format!("{votes} of {votes} votes in both stores"));
}

fn url(file: &Path) -> String {
    format!("sqlite:{}", file.display())
}

const PARTS: [&str; 3] = ["", "-wal", "-shm"];

fn part(file: &Path, suffix: &str) -> std::path::PathBuf {
    format!("{}{suffix}", file.display()).into()
}

/// Copies a database as `cp` does.
fn copy(from: &Path, to: &Path) {
    for suffix in PARTS.into_iter().filter(|suffix| part(from, suffix).exists()) {
        std::fs::copy(part(from, suffix), part(to, suffix)).unwrap();
    }
}

fn remove(file: &Path) {
    for suffix in PARTS.into_iter().filter(|suffix| part(file, suffix).exists()) {
        std::fs::remove_file(part(file, suffix)).unwrap();
    }
}

#[tokio::test]
async fn a_file_with_two_names_is_refused_and_one_with_a_symbolic_link_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["votes.db", "hard.db", "symbolic.db"].map(|name| folder.path().join(name));
    let original = open_store(&url(&names[0]));
    vote(&original, 1).await;
    std::os::unix::fs::symlink(&names[0], &names[2]).unwrap();
    let symbolic = open_store(&url(&names[2]));
    vote(&symbolic, 1).await;
    assert_eq!(original.tally().await.unwrap(), Tally::new(2, 0));
    std::fs::hard_link(&names[0], &names[1]).unwrap();
    for name in &names {
        let error = open_store(&url(name)).cast_new(ballot(Choice::First)).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unusable(cause) if cause.contains("2 names")), "{error}");
    }
    std::fs::remove_file(&names[1]).unwrap();
    assert_eq!(open_store(&url(&names[0])).tally().await.unwrap(), Tally::new(2, 0));
}

#[tokio::test]
async fn a_copied_file_takes_votes_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.db"), folder.path().join("b.db"));
    let original = open_store(&url(&a));
    vote(&original, 10).await;
    copy(&a, &b);
    let copied = open_store(&url(&b));
    vote(&original, 5).await;
    vote(&copied, 3).await;
    all_votes_are_in_both([&original, &copied], 18, "a copied file").await;
}

#[tokio::test]
async fn a_restored_file_takes_votes_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b, backup] = ["a.db", "b.db", "backup.db"].map(|name| folder.path().join(name));
    let store = open_store(&url(&a));
    vote(&store, 6).await;
    copy(&a, &backup);
    vote(&store, 4).await;
    let other = open_store(&url(&b));
    transfer(store.as_ref(), other.as_ref()).await.unwrap();
    drop(store);
    remove(&a);
    copy(&backup, &a);
    let restored = open_store(&url(&a));
    vote(&restored, 3).await;
    all_votes_are_in_both([&other, &restored], 13, "a restored file").await;
}

#[tokio::test]
async fn a_promoted_replica_takes_votes_of_its_own() {
    let redis = Redis::with(&["--save", ""]).await;
    let original = open_store(&redis.url());
    vote(&original, 10).await;
    original.reset().await.unwrap();
    vote(&original, 2).await;
    let master = [redis.address().ip().to_string(), redis.address().port().to_string()];
    let replica = Redis::with(&["--save", ""]).await;
    replica.query::<()>("REPLICAOF", &[&master[0], &master[1]]).await;
    eventually("the replica has the votes", PATIENCE, async || {
        replica.query::<Option<u64>>("GET", &["Cats"]).await == Some(2)
    })
    .await;
    replica.query::<()>("REPLICAOF", &["NO", "ONE"]).await;
    let promoted = open_store(&replica.url());
    vote(&original, 5).await;
    vote(&promoted, 3).await;
    all_votes_are_in_both([&original, &promoted], 10, "a promoted replica").await;
}

#[tokio::test]
async fn a_primary_that_was_a_replica_meanwhile_takes_votes_of_its_own() {
    let (a, other) = (Redis::with(&["--save", ""]).await, MySql::database().await);
    let (store, other) = (open_store(&a.url()), open_store(&other.url()));
    vote(&store, 8).await;
    let b = a.replica(&["--save", ""], Vec::new()).await;
    a.replicated_to(&b).await;
    b.query::<()>("REPLICAOF", &["NO", "ONE"]).await;
    // These are lost when the primary becomes a replica.
    vote(&store, 4).await;
    transfer(store.as_ref(), other.as_ref()).await.unwrap();
    let master = [b.address().ip().to_string(), b.address().port().to_string()];
    a.query::<()>("REPLICAOF", &[&master[0], &master[1]]).await;
    eventually("the primary is a replica", PATIENCE, async || {
        a.query::<Option<u64>>("GET", &["Cats"]).await == Some(8)
    })
    .await;
    a.query::<()>("REPLICAOF", &["NO", "ONE"]).await;
    // The services have kept their connections.
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    vote(&store, 6).await;
    all_votes_are_in_both([&store, &other], 18, "a primary that was a replica meanwhile").await;
}

#[tokio::test]
async fn a_redis_that_was_restored_from_a_snapshot_takes_votes_of_its_own() {
    let mut redis = Redis::with(&["--save", ""]).await;
    let folder = tempfile::tempdir().unwrap();
    let other = open_store(&url(&folder.path().join("other.db")));
    let store = open_store(&redis.url());
    vote(&store, 6).await;
    redis.query::<()>("SAVE", &[]).await;
    vote(&store, 4).await;
    transfer(store.as_ref(), other.as_ref()).await.unwrap();
    redis.server().kill().await;
    redis.server().restart().await;
    let restored = open_store(&redis.url());
    // More votes than were lost.
    vote(&restored, 5).await;
    all_votes_are_in_both([&other, &restored], 15, "a restored snapshot of Redis").await;
}

#[tokio::test]
async fn a_copied_database_takes_votes_of_its_own() {
    let (a, b) = (MySql::database().await, MySql::database().await);
    let original = open_store(&a.url());
    vote(&original, 10).await;
    for table in ["_sqlx_migrations", "ballots", "tallies", "own_origin"] {
        let (from, to) = (format!("{}.{table}", a.name()), format!("{}.{table}", b.name()));
        b.execute(&format!("CREATE TABLE {to} LIKE {from}; INSERT INTO {to} SELECT * FROM {from}")).await;
    }
    let copied = open_store(&b.url());
    vote(&original, 5).await;
    vote(&copied, 3).await;
    all_votes_are_in_both([&original, &copied], 18, "a copied database").await;
}

#[tokio::test]
async fn a_store_that_lost_votes_is_not_merged_before_it_has_a_new_origin() {
    let mysql = MySql::database().await;
    let folder = tempfile::tempdir().unwrap();
    let other = open_store(&url(&folder.path().join("other.db")));
    let store = open_store(&mysql.url());
    vote(&store, 10).await;
    transfer(store.as_ref(), other.as_ref()).await.unwrap();
    let backup = store.snapshot().await.unwrap();
    // A dump was restored into the same database.
    mysql.execute("UPDATE tallies SET votes = 6 WHERE choice <> ''").await;
    let refused = [
        transfer(other.as_ref(), store.as_ref()).await.unwrap_err(),
        transfer(store.as_ref(), other.as_ref()).await.unwrap_err(),
        preview(other.as_ref(), store.as_ref()).await.unwrap_err(),
        import(&backup, store.as_ref()).await.unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, TransferError::Restored(_)), "{error}");
    }
    figure("a dump in place, without a new origin", "4 of 4 transfers refused");
    assert_eq!(store.tally().await.unwrap(), Tally::new(6, 0), "a refused transfer changed the store");
    store.renew_origin().await.unwrap();
    let restored = open_store(&mysql.url());
    vote(&restored, 3).await;
    all_votes_are_in_both([&other, &restored], 13, "a dump in place, with a new origin").await;
}

/// Renews the origin of a store; its votes stay.
async fn a_new_origin_keeps_the_votes(url: &str) {
    let store = open_store(url);
    vote(&store, 4).await;
    store.reset().await.unwrap();
    vote(&store, 2).await;
    let before = store.origins().await.unwrap();
    store.renew_origin().await.unwrap();
    let renewed = open_store(url);
    assert_ne!(renewed.origins().await.unwrap(), before);
    vote(&renewed, 1).await;
    assert_eq!(renewed.tally().await.unwrap(), Tally::new(3, 0));
    let total: u64 =
        renewed.snapshot().await.unwrap().counters(Choice::First).values().map(|c| c.votes).sum();
    assert_eq!(total, 7);
    assert_eq!(renewed.snapshot().await.unwrap().counters(Choice::First).len(), 2);
}

#[tokio::test]
async fn a_new_origin_keeps_the_votes_of_each_store() {
    let (redis, mysql) = (Redis::database().await, MySql::database().await);
    let folder = tempfile::tempdir().unwrap();
    a_new_origin_keeps_the_votes(&redis.url()).await;
    a_new_origin_keeps_the_votes(&mysql.url()).await;
    a_new_origin_keeps_the_votes(&url(&folder.path().join("votes.db"))).await;
}

#[tokio::test]
async fn a_store_is_not_merged_with_itself() {
    let (redis, mysql) = (Redis::database().await, MySql::database().await);
    for (url, alias) in [
        (redis.url(), redis.url_at(Proxy::start(redis.address(), Mode::Open).await.address())),
        (mysql.url(), mysql.url_at(Proxy::start(mysql.address(), Mode::Open).await.address())),
    ] {
        let (store, same) = (open_store(&url), open_store(&alias));
        vote(&store, 2).await;
        let error = transfer(store.as_ref(), same.as_ref()).await.unwrap_err();
        assert!(matches!(error, TransferError::SameOrigin), "{error}");
    }
}

#[tokio::test]
async fn one_store_under_two_names_is_not_a_sharded_poll() {
    let (redis, mysql) = (Redis::database().await, MySql::database().await);
    for (url, alias) in [
        (redis.url(), redis.url_at(Proxy::start(redis.address(), Mode::Open).await.address())),
        (mysql.url(), mysql.url_at(Proxy::start(mysql.address(), Mode::Open).await.address())),
    ] {
        let store = open_store(&format!("{url} {alias}"));
        for _ in 0..4 {
            let error = store.cast(ballot(Choice::First)).await.unwrap_err().to_string();
            assert!(error.contains("are one store") && error.lines().count() == 1, "{error}");
        }
        assert!(store.tally().await.is_err() && store.reset().await.is_err());
        assert_eq!(open_store(&url).tally().await.unwrap(), Tally::new(0, 0));
    }
    figure("one store listed twice", "8 of 8 votes refused");
}

#[tokio::test]
async fn votes_never_go_to_a_file_that_was_removed_or_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (file, backup) = (folder.path().join("votes.db"), folder.path().join("backup.db"));
    let store = open_store(&url(&file));
    vote(&store, 3).await;
    copy(&file, &backup);
    vote(&store, 1).await;
    remove(&file);
    vote(&store, 2).await;
    assert_eq!(open_store(&url(&file)).tally().await.unwrap(), Tally::new(2, 0), "votes in a removed file");
    for suffix in PARTS {
        let (from, to) = (part(&backup, suffix), part(&file, suffix));
        std::fs::rename(from, to).unwrap();
    }
    assert_eq!(store.tally().await.unwrap(), Tally::new(3, 0));
    vote(&store, 2).await;
    assert_eq!(open_store(&url(&file)).tally().await.unwrap(), Tally::new(5, 0), "votes in a replaced file");
    figure("a file that is removed, then replaced", "4 of 4 later votes in the file that is there");
}
