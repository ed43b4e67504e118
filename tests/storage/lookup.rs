//! Ballots that were counted before, cast again in a store that takes no writes.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use voting_core::{Ballot, Cast, Choice, Choices};
use voting_storage::{StoreError, VoteStore, open};
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::{MySql, Redis};
use voting_tests::store::{ballot, cast_until_confirmed, open_store};
use voting_tests::{PATIENCE, eventually, figure};

fn open_url(url: &str) -> Arc<dyn VoteStore> {
    open(&url.parse().unwrap(), &Choices::default()).unwrap()
}

/// Casts a counted ballot again.
async fn cast_again(store: &dyn VoteStore, counted: Ballot, state: &str) {
    assert_eq!(store.cast(counted).await.unwrap(), Cast::AlreadyCounted);
    figure(state, "1 of 1 counted ballots is known");
}

/// Casts a counted ballot and a new one. Returns the error of the new one.
async fn cast_both(store: &dyn VoteStore, counted: Ballot, state: &str) -> StoreError {
    cast_again(store, counted, state).await;
    let error = store.cast(ballot(Choice::First)).await.unwrap_err();
    figure(state, format!("1 of 1 new ballots is not counted: {error}"));
    error
}

#[tokio::test]
async fn a_full_redis_still_knows_its_ballots() {
    let redis = Redis::with(&["--save", ""]).await;
    let store = open_store(&redis.url());
    let vote = ballot(Choice::First);
    cast_until_confirmed(store.as_ref(), vote).await;
    redis.query::<()>("CONFIG", &["SET", "maxmemory", "1"]).await;
    let error = cast_both(store.as_ref(), vote, "a full Redis").await;
    assert!(matches!(error, StoreError::Unusable(_)), "{error}");
}

#[tokio::test]
async fn a_redis_that_became_a_replica_still_knows_its_ballots_but_excludes_no_other() {
    let redis = Redis::with(&["--save", ""]).await;
    let store = open_url(&redis.url());
    let vote = ballot(Choice::First);
    cast_until_confirmed(store.as_ref(), vote).await;
    let nowhere = voting_tests::free_port().to_string();
    redis.query::<()>("REPLICAOF", &["127.0.0.1", &nowhere]).await;
    let error = cast_both(store.as_ref(), vote, "a Redis that became a replica").await;
    // The primary may have it.
    assert!(matches!(error, StoreError::Unconfirmed(_)), "{error}");
}

#[tokio::test]
async fn a_redis_without_a_usable_count_still_knows_its_ballots() {
    let redis = Redis::with(&["--save", ""]).await;
    let store = open_store(&redis.url());
    let vote = ballot(Choice::First);
    cast_until_confirmed(store.as_ref(), vote).await;
    redis.query::<()>("SET", &["Cats", "many"]).await;
    let error = cast_both(store.as_ref(), vote, "a Redis without a usable count").await;
    assert!(matches!(error, StoreError::Unusable(_)), "{error}");
}

#[tokio::test]
async fn a_read_only_mysql_still_knows_its_ballots_but_excludes_no_other() {
    let mysql = MySql::own().await;
    let user = "CREATE USER voter@'%' IDENTIFIED BY 'pw'; GRANT ALL ON votes.* TO voter@'%'";
    mysql.execute(user).await;
    let store = open_url(&mysql.url().replace("root@", "voter:pw@"));
    let vote = ballot(Choice::First);
    cast_until_confirmed(store.as_ref(), vote).await;
    mysql.execute("SET GLOBAL read_only = 1").await;
    let error = cast_both(store.as_ref(), vote, "a read-only MySQL").await;
    assert!(matches!(error, StoreError::Unconfirmed(_)), "{error}");
    mysql.execute("SET GLOBAL read_only = 0").await;
    cast_until_confirmed(store.as_ref(), ballot(Choice::First)).await;
}

#[tokio::test]
async fn a_locked_mysql_still_knows_its_ballots() {
    let mysql = MySql::database().await;
    let store = open_url(&mysql.url());
    let vote = ballot(Choice::First);
    cast_until_confirmed(store.as_ref(), vote).await;
    let mut other = mysql.connect().await;
    other.execute("START TRANSACTION").await.unwrap();
    other.execute("SELECT * FROM tallies FOR UPDATE").await.unwrap();
    cast_again(store.as_ref(), vote, "a locked MySQL").await;
}

#[tokio::test]
async fn a_locked_sqlite_file_still_knows_its_ballots() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/votes.db", folder.path().display());
    let vote = ballot(Choice::First);
    open_store(&url).cast(vote).await.unwrap();
    let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
    other.execute(AssertSqlSafe("BEGIN IMMEDIATE".to_owned())).await.unwrap();
    cast_again(open_store(&url).as_ref(), vote, "a locked SQLite file").await;
}

#[tokio::test]
async fn without_an_answer_only_a_new_ballot_is_certainly_not_counted() {
    let redis = Redis::database().await;
    let proxy = Proxy::start(redis.address(), Mode::Open).await;
    let store = open_url(&redis.url_at(proxy.address()));
    let vote = ballot(Choice::First);
    cast_until_confirmed(store.as_ref(), vote).await;
    proxy.set(Mode::Closed);
    let again = store.cast(vote).await.unwrap_err();
    assert!(matches!(again, StoreError::Unconfirmed(_)), "{again}");
    let new = store.cast_new(ballot(Choice::First)).await.unwrap_err();
    assert!(matches!(new, StoreError::Unavailable(_)), "{new}");
}

#[tokio::test]
async fn a_busy_redis_is_retried() {
    let redis = Redis::with(&["--save", "", "--busy-reply-threshold", "50"]).await;
    let store = open_store(&redis.url());
    cast_until_confirmed(store.as_ref(), ballot(Choice::First)).await;
    let script = redis.try_query::<()>("EVAL", &["while true do end", "0"]);
    let cast_meanwhile = async {
        eventually("Redis is busy", PATIENCE, async || {
            let ping = redis.try_query::<String>("PING", &[]).await;
            ping.is_err_and(|error| error.code() == Some("BUSY"))
        })
        .await;
        let cast = tokio::spawn(async move { store.cast(ballot(Choice::First)).await });
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!cast.is_finished());
        redis.query::<()>("SCRIPT", &["KILL"]).await;
        assert_eq!(cast.await.unwrap().unwrap(), Cast::Counted);
    };
    let (killed, ()) = tokio::join!(script, cast_meanwhile);
    assert!(killed.is_err(), "the script was not killed");
}
