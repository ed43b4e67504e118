//! Impossible numbers in a store: refused or exact, never a poll that stays unusable, and a reset always works.

use sqlx::{Connection as _, Executor as _};
use voting_core::tally::{Counter, Origin};
use voting_core::{Cast, Choice, Snapshot, Tally};
use voting_storage::transfer::transfer;
use voting_tests::servers::{MySql, Redis, RedisCluster};
use voting_tests::store::{ballot, open_store};

/// Whatever the store answers now, it counts again after a reset.
async fn a_reset_makes_it_usable(url: &str, what: &str) {
    let store = open_store(url);
    // Each of these may fail, but must not panic.
    let _ = store.tally().await;
    let _ = store.snapshot().await.map(|snapshot| snapshot.tally());
    let refused = ballot(Choice::First);
    let cast = store.cast(refused).await;
    store.reset().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(store.tally().await.unwrap(), Tally::new(0, 0), "{what}");
    if cast.is_err() {
        assert_eq!(store.cast(refused).await.unwrap(), Cast::Counted, "{what}");
    } else {
        store.cast(ballot(Choice::First)).await.unwrap();
    }
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 0), "{what}");
    store.snapshot().await.unwrap();
}

const COUNTS: [&str; 8] = [
    "-1",
    "-9223372036854775808",
    "9007199254740991",
    "9223372036854775807",
    "99999999999999999999",
    "3.5",
    " 7",
    "1e3",
];

#[tokio::test]
async fn a_reset_of_redis_works_on_any_count() {
    let redis = Redis::database().await;
    for count in COUNTS {
        open_store(&redis.url()).cast(ballot(Choice::First)).await.unwrap();
        redis.query::<()>("SET", &["Cats", count]).await;
        a_reset_makes_it_usable(&redis.url(), count).await;
    }
    redis.query::<()>("HSET", &["voting:{Cats}:counters", "x:votes", "many", "x:reset", "none"]).await;
    a_reset_makes_it_usable(&redis.url(), "counters that are no numbers").await;
    for (key, command) in [("Cats", "RPUSH"), ("voting:{Cats}:counters", "SADD")] {
        redis.query::<()>("DEL", &[key]).await;
        redis.query::<()>(command, &[key, "1"]).await;
        a_reset_makes_it_usable(&redis.url(), command).await;
    }
}

#[tokio::test]
async fn a_count_of_another_type_is_an_error_not_zero() {
    let redis = Redis::database().await;
    let store = open_store(&redis.url());
    store.cast(ballot(Choice::Second)).await.unwrap();
    for _ in 0..2 {
        redis.query::<()>("RPUSH", &["Cats", "1"]).await;
        let error = store.tally().await.unwrap_err();
        assert!(error.to_string().contains("WRONGTYPE"), "{error}");
        // The next time, the key is known to have been absent before.
        redis.query::<()>("DEL", &["Cats"]).await;
        for _ in 0..2 {
            assert_eq!(store.tally().await.unwrap(), Tally::new(0, 1));
        }
    }
    store.cast(ballot(Choice::First)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(store.tally().await.unwrap(), Tally::new(1, 1));
    }
}

#[tokio::test]
async fn a_reset_of_a_cluster_works_on_any_count() {
    let cluster = RedisCluster::start().await;
    let url = cluster.url(1);
    for count in ["-1", "9223372036854775807", "3.5"] {
        open_store(&url).cast(ballot(Choice::First)).await.unwrap();
        for server in &cluster.servers {
            let keys: Vec<String> = server.query("KEYS", &["voting:*:count:Cats"]).await;
            for key in keys {
                server.query::<()>("SET", &[&key, count]).await;
            }
        }
        a_reset_makes_it_usable(&url, count).await;
    }
}

#[tokio::test]
async fn a_vote_counts_on_a_number_that_redis_does_not_increment() {
    let redis = Redis::database().await;
    let store = open_store(&redis.url());
    for (count, votes) in [("-5", 0), ("-0", 0), ("007", 7), ("00", 0)] {
        redis.query::<()>("SET", &["Dogs", count]).await;
        redis.query::<()>("SET", &["Cats", "0"]).await;
        assert_eq!(store.tally().await.unwrap(), Tally::new(0, votes), "{count}");
        // One batch: an error at the second choice must not leave the votes of the first.
        let (first, second) =
            tokio::join!(store.cast(ballot(Choice::First)), store.cast(ballot(Choice::Second)));
        assert_eq!((first.unwrap(), second.unwrap()), (Cast::Counted, Cast::Counted), "{count}");
        assert_eq!(store.tally().await.unwrap(), Tally::new(1, votes + 1), "{count}");
        assert_eq!(store.snapshot().await.unwrap().tally(), Tally::new(1, votes + 1), "{count}");
    }
}

const ROWS: [(i64, i64); 4] = [(i64::MAX, 0), (i64::MAX - 1, -5), (-3, 7), (i64::MIN, i64::MAX)];

#[tokio::test]
async fn a_reset_of_mysql_works_on_any_count() {
    let mysql = MySql::database().await;
    for (votes, reset) in ROWS {
        let store = open_store(&mysql.url());
        store.cast(ballot(Choice::First)).await.unwrap();
        store.renew_origin().await.unwrap();
        mysql
            .execute(&format!("UPDATE tallies SET votes = {votes}, reset_votes = {reset} WHERE choice <> ''"))
            .await;
        a_reset_makes_it_usable(&mysql.url(), &format!("{votes}, {reset}")).await;
        let same = format!("UPDATE tallies SET votes = {votes} WHERE choice <> ''");
        mysql.execute(&same).await;
        a_reset_makes_it_usable(&mysql.url(), &same).await;
    }
}

#[tokio::test]
async fn a_reset_of_sqlite_works_on_any_count() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/votes.db", folder.path().display());
    let rows = ROWS.map(|(votes, reset)| (votes.to_string(), reset.to_string()));
    for (votes, reset) in rows.into_iter().chain([("1.5e300".to_owned(), "'many'".to_owned())]) {
        let store = open_store(&url);
        store.cast(ballot(Choice::First)).await.unwrap();
        store.renew_origin().await.unwrap();
        let mut file = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let set = format!("UPDATE tallies SET votes = {votes}, reset_votes = {reset}");
        file.execute(sqlx::AssertSqlSafe(set)).await.unwrap();
        a_reset_makes_it_usable(&url, &format!("{votes}, {reset}")).await;
    }
}

#[tokio::test]
async fn counters_are_merged_exactly_or_not_at_all() {
    let (redis, mysql) = (Redis::database().await, MySql::database().await);
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite:{}/votes.db", folder.path().display());
    let most = Counter { votes: Counter::MAX_VOTES, reset_votes: 0 };
    for url in [redis.url(), mysql.url(), sqlite] {
        let store = open_store(&url);
        store.cast(ballot(Choice::First)).await.unwrap();
        let mut snapshot = Snapshot::default();
        for _ in 0..3 {
            snapshot.merge_counter(Choice::First, Origin::new(), most);
        }
        let expected = match store.merge(&snapshot).await {
            Ok(()) => Tally::new(3 * Counter::MAX_VOTES + 1, 0),
            Err(_) => Tally::new(1, 0),
        };
        assert_eq!(store.tally().await.unwrap(), expected, "{url}");
        assert_eq!(store.snapshot().await.unwrap().tally(), expected, "{url}");
        store.cast(ballot(Choice::First)).await.unwrap();
        a_reset_makes_it_usable(&url, &url).await;
        let other = open_store(&format!("sqlite:{}/{}.db", folder.path().display(), store.kind()));
        transfer(store.as_ref(), other.as_ref()).await.unwrap();
        assert_eq!(other.tally().await.unwrap(), Tally::new(1, 0), "{url}");
    }
}

/// A counter that is almost full takes what fits (`fill` sets its votes); then votes are refused with the reason and without a trace, until a reset.
async fn a_full_counter_refuses_votes(url: &str, fill: impl AsyncFn(u64)) {
    for votes in [Counter::MAX_VOTES - 1, i64::MAX.unsigned_abs() - 1, i64::MAX.unsigned_abs()] {
        // A reset of a full counter renews the origin, which an open connection notices after a pause.
        let store = open_store(url);
        store.cast(ballot(Choice::First)).await.unwrap();
        fill(votes).await;
        if votes < Counter::MAX_VOTES {
            assert_eq!(store.cast(ballot(Choice::First)).await.unwrap(), Cast::Counted, "{url} {votes}");
        }
        let refused = ballot(Choice::First);
        for attempt in [store.cast(refused).await, store.cast_new(refused).await] {
            let error = attempt.expect_err("a vote counts on a full counter");
            let is_refused = matches!(error, voting_storage::StoreError::Unusable(_));
            let text = error.to_string();
            assert!(
                is_refused && text.contains("the counter of a choice is full; allowed: "),
                "{url} {votes}: {text}"
            );
        }
        let probe = store.probe().await.expect_err("ballots are taken").to_string();
        assert!(probe.contains("the counter of a choice is full"), "{url} {votes}: {probe}");
        store.reset().await.unwrap();
        let store = open_store(url);
        assert_eq!(store.cast(refused).await.unwrap(), Cast::Counted, "{url} {votes}");
        assert_eq!(store.tally().await.unwrap(), Tally::new(1, 0), "{url} {votes}");
        store.reset().await.unwrap();
    }
}

#[tokio::test]
async fn a_full_counter_refuses_votes_with_the_reason_and_leaves_no_trace() {
    let redis = Redis::database().await;
    let fill = async |votes: u64| redis.query::<()>("SET", &["Cats", &votes.to_string()]).await;
    a_full_counter_refuses_votes(&redis.url(), fill).await;

    let mysql = MySql::database().await;
    let fill = async |votes: u64| {
        mysql
            .execute(&format!("UPDATE tallies SET votes = {votes}, reset_votes = 0 WHERE choice = 'Cats'"))
            .await;
    };
    a_full_counter_refuses_votes(&mysql.url(), fill).await;

    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/votes.db", folder.path().display());
    let fill = async |votes: u64| {
        let mut file = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let set = format!("UPDATE tallies SET votes = {votes}, reset_votes = 0 WHERE choice = 'Cats'");
        file.execute(sqlx::AssertSqlSafe(set)).await.unwrap();
    };
    a_full_counter_refuses_votes(&url, fill).await;
}
