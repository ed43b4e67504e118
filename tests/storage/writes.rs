//! Writes that end without a confirmation, late or halfway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor as _;
use voting_core::{Cast, Choice, Choices, Tally};
use voting_storage::{StoreError, Timeouts, VoteStore, open, transfer};
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::{MySql, Redis};
use voting_tests::store::{ballot, cast_until_confirmed, open_limited, open_store};
use voting_tests::{PATIENCE, Stopwatch, eventually};

fn open_url(url: &str) -> Arc<dyn VoteStore> {
    open(&url.parse().unwrap(), &Choices::default()).unwrap()
}

async fn cast_three(store: &dyn VoteStore) {
    for _ in 0..3 {
        cast_until_confirmed(store, ballot(Choice::First)).await;
    }
}

/// A store with this limit of each call, behind a proxy of its server.
async fn behind(
    url: impl FnOnce(SocketAddr) -> String,
    server: SocketAddr,
    mode: Mode,
    limit: Duration,
) -> (Arc<dyn VoteStore>, Proxy) {
    let proxy = Proxy::start(server, mode).await;
    let timeouts = Timeouts { deadline: limit, attempt: limit, connect: limit };
    (open_limited(&url(proxy.address()), timeouts), proxy)
}

/// The reset is sent before its deadline, and arrives after it. The clock of the server was measured by a slow request.
#[tokio::test]
async fn a_reset_that_reaches_redis_late_has_no_effect() {
    const LIMIT: Duration = Duration::from_secs(6);
    // It is the fourth request of its connection.
    const LATENCY: Duration = Duration::from_millis(1600);
    let redis = Redis::own().await;
    let direct = open_store(&redis.url());
    // From now on Redis knows the script.
    direct.reset().await.unwrap();
    cast_three(direct.as_ref()).await;
    let (store, _proxy) =
        behind(|proxy| redis.url_at(proxy), redis.address(), Mode::SlowRequests(LATENCY), LIMIT).await;
    let stopwatch = Stopwatch::start();
    let error = store.reset().await.unwrap_err();
    stopwatch.assert_within(LIMIT, "a reset of a distant Redis");
    tokio::time::sleep(LATENCY).await;
    assert_eq!(direct.tally().await.unwrap(), Tally::new(3, 0), "{error}");
}

#[tokio::test]
async fn a_reset_of_a_locked_mysql_ends_by_its_deadline_and_has_no_effect_later() {
    const LIMIT: Duration = Duration::from_secs(3);
    // The last attempt waits for the lock when the deadline comes.
    for latency in [Duration::ZERO, Duration::from_millis(150)] {
        let mysql = MySql::database().await;
        let direct = open_store(&mysql.url());
        cast_three(direct.as_ref()).await;
        let mode = Mode::SlowRequests(latency);
        let (store, _proxy) = behind(|proxy| mysql.url_at(proxy), mysql.address(), mode, LIMIT).await;
        let mut other = mysql.connect().await;
        other.execute("START TRANSACTION").await.unwrap();
        other.execute("SELECT * FROM tallies FOR UPDATE").await.unwrap();
        let stopwatch = Stopwatch::start();
        let error = store.reset().await.unwrap_err();
        stopwatch.assert_within(LIMIT, "a reset of a locked MySQL");
        other.execute("COMMIT").await.unwrap();
        // What is left of the reset on the server has the lock, or has given up, before this vote.
        cast_until_confirmed(direct.as_ref(), ballot(Choice::First)).await;
        assert_eq!(direct.tally().await.unwrap(), Tally::new(4, 0), "{latency:?}: {error}");
    }
}

/// By a clock that was measured with a slow answer, the deadline has passed when the reset gets the lock. Its answer is in time.
#[tokio::test]
async fn a_reset_of_mysql_that_is_confirmed_has_an_effect() {
    const LIMIT: Duration = Duration::from_secs(3);
    const LATENCY: Duration = Duration::from_millis(150);
    let mysql = MySql::database().await;
    let direct = open_store(&mysql.url());
    cast_three(direct.as_ref()).await;
    let (store, proxy) =
        behind(|proxy| mysql.url_at(proxy), mysql.address(), Mode::SlowAnswers(LATENCY), LIMIT).await;
    let mut other = mysql.connect().await;
    other.execute("START TRANSACTION").await.unwrap();
    other.execute("SELECT * FROM tallies FOR UPDATE").await.unwrap();
    let end = tokio::time::Instant::now() + LIMIT;
    let reset = tokio::spawn(async move { store.reset().await });
    tokio::time::sleep_until(end - LATENCY * 2).await;
    proxy.set(Mode::Open);
    tokio::time::sleep_until(end - LATENCY / 2).await;
    other.execute("COMMIT").await.unwrap();
    let is_done = reset.await.unwrap();
    let tally = direct.tally().await.unwrap();
    assert!(is_done.is_err() || tally == Tally::new(0, 0), "confirmed, and without an effect: {tally:?}");
}

#[tokio::test]
async fn a_reset_with_a_shard_away_changes_nothing() {
    let servers = Redis::databases(2).await;
    let proxy = Proxy::start(servers[1].address(), Mode::Open).await;
    let store = open_url(&format!("{} {}", servers[0].url(), servers[1].url_at(proxy.address())));
    for _ in 0..20 {
        cast_until_confirmed(store.as_ref(), ballot(Choice::First)).await;
    }
    for away in [Mode::Closed, Mode::Silent] {
        proxy.set(away);
        let error = store.reset().await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert!(error.to_string().contains("no shard was reset"), "{error}");
        proxy.set(Mode::Open);
        eventually("the shard answers", PATIENCE, async || store.ping().await.is_ok()).await;
        assert_eq!(store.tally().await.unwrap(), Tally::new(20, 0), "{error}");
    }
}

#[tokio::test]
async fn a_reset_of_a_slow_shard_ends_by_its_deadline() {
    let servers = Redis::databases(2).await;
    let proxy = Proxy::start(servers[1].address(), Mode::Open).await;
    let [deadline, attempt, connect] = [9, 6, 4].map(Duration::from_secs);
    let url = format!("{} {}", servers[0].url(), servers[1].url_at(proxy.address()));
    let store = open_limited(&url, Timeouts { deadline, attempt, connect });
    eventually("the shards answer", PATIENCE, async || store.tally().await.is_ok()).await;
    // The shard answers in time that it is there. It has no time for a reset on a new connection.
    proxy.set(Mode::Distant(deadline * 13 / 100));
    let stopwatch = Stopwatch::start();
    let error = store.reset().await.unwrap_err();
    stopwatch.assert_within(deadline, "a reset of a slow shard");
    // On a busy machine, the shard's answer comes too late.
    assert!(matches!(error, StoreError::Unconfirmed(_) | StoreError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn a_reset_of_some_shards_only_is_unconfirmed() {
    let servers = [Redis::with(&["--save", ""]).await, Redis::with(&["--save", ""]).await];
    let [deadline, attempt, connect] = [12, 8, 6].map(Duration::from_secs);
    let url = format!("{} {}", servers[0].url(), servers[1].url());
    let store = open_limited(&url, Timeouts { deadline, attempt, connect });
    eventually("the shards answer", PATIENCE, async || store.reset().await.is_ok()).await;
    // It answers, and takes no writes.
    servers[1].query::<()>("REPLICAOF", &["127.0.0.1", "1"]).await;
    let error = store.reset().await.unwrap_err();
    let StoreError::Unconfirmed(cause) = &error else { panic!("{error}") };
    assert!(cause.contains("partly done: 1 of 2"), "{error}");
}

/// Casts a ballot whose answer a proxy replaces. The ballot was counted, so it must not be refused.
async fn a_replaced_answer_is_unconfirmed(url: &str, proxy: &Proxy, answer: &'static [u8]) {
    let store = open_url(url);
    let mut votes = 0;
    loop {
        cast_until_confirmed(store.as_ref(), ballot(Choice::Second)).await;
        proxy.set(Mode::ReplaceAnswers(answer));
        let vote = ballot(Choice::First);
        let error = store.cast_new(vote).await.unwrap_err();
        proxy.set(Mode::Open);
        let text = String::from_utf8_lossy(answer);
        let counted = cast_until_confirmed(store.as_ref(), vote).await == Cast::AlreadyCounted;
        let is_unconfirmed = matches!(error, StoreError::Unconfirmed(_));
        assert!(is_unconfirmed || !counted, "{text:?}: {error}, yet counted");
        if counted {
            return;
        }
        // The connection was idle, so the proxy replaced the answer to a probe.
        votes += 1;
        assert!(votes < 50, "{text:?}: no answer to a vote was replaced");
    }
}

#[tokio::test]
async fn an_answer_that_a_proxy_of_redis_made_up_is_unconfirmed() {
    let redis = Redis::database().await;
    let proxy = Proxy::start(redis.address(), Mode::Open).await;
    for answer in [
        "-upstream failure\r\n",
        "-ERR Connection to server lost\r\n",
        "-ERR no upstream host\r\n",
        "+OK\r\n",
        ":1\r\n",
    ] {
        a_replaced_answer_is_unconfirmed(&redis.url_at(proxy.address()), &proxy, answer.as_bytes()).await;
    }
}

#[tokio::test]
async fn an_answer_that_a_proxy_of_mysql_made_up_is_unconfirmed() {
    let mysql = MySql::database().await;
    let proxy = Proxy::start(mysql.address(), Mode::Open).await;
    for (number, text) in [
        (2013_u16, "Lost connection to server during query"),
        (1927, "Lost connection to backend server"),
        (9001, "Max connect timeout reached"),
        (1105, "unknown error"),
        (1317, "Query execution was interrupted"),
    ] {
        let mut body = vec![0xff];
        body.extend(number.to_le_bytes());
        body.extend(b"#HY000");
        body.extend(text.bytes());
        let mut packet = u32::try_from(body.len()).unwrap().to_le_bytes()[..3].to_vec();
        packet.push(1);
        packet.extend(body);
        a_replaced_answer_is_unconfirmed(&mysql.url_at(proxy.address()), &proxy, packet.leak()).await;
    }
}

#[tokio::test]
async fn a_vote_that_does_not_fit_into_the_count_leaves_no_id() {
    let redis = Redis::database().await;
    let store = open_store(&redis.url());
    redis.query::<()>("SET", &["Cats", "9007199254740991"]).await;
    let vote = ballot(Choice::First);
    let error = store.cast(vote).await.unwrap_err();
    assert!(matches!(error, StoreError::Unusable(_)), "{error}");
    redis.query::<()>("SET", &["Cats", "10"]).await;
    assert_eq!(store.cast(vote).await.unwrap(), Cast::Counted);
    assert_eq!(store.tally().await.unwrap(), Tally::new(11, 0));
}

#[tokio::test]
async fn the_session_defaults_of_a_mysql_server_do_not_matter() {
    let mysql = MySql::own().await;
    let engines = ["MyISAM", "MEMORY", "InnoDB"];
    for (place, settings) in [
        "autocommit = 0",
        "completion_type = 'CHAIN'",
        "completion_type = 'RELEASE'",
        "sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
        "sql_mode = ''",
        // The comment is a statement to MariaDB alone.
        "sql_mode = CONCAT('ANSI' /*M! , ',ORACLE' */)",
        "sql_safe_updates = 1",
        "time_zone = '+13:00'",
        "sql_select_limit = 0",
        "max_join_size = 1",
        "TRANSACTION READ ONLY",
    ]
    .into_iter()
    .enumerate()
    {
        let engine = engines[place % engines.len()];
        mysql
            .execute(&format!(
                "DROP DATABASE votes; CREATE DATABASE votes; \
                 SET GLOBAL default_storage_engine = {engine}; SET GLOBAL {settings}"
            ))
            .await;
        let store = open_store(&mysql.url());
        let votes = [ballot(Choice::First), ballot(Choice::First), ballot(Choice::Second)];
        for vote in votes {
            assert_eq!(store.cast(vote).await.unwrap(), Cast::Counted, "{settings}");
        }
        assert_eq!(store.cast(votes[0]).await.unwrap(), Cast::AlreadyCounted, "{settings}");
        // Another connection sees committed rows only.
        let other = open_store(&mysql.url());
        assert_eq!(other.tally().await.unwrap(), Tally::new(2, 1), "{settings}");
        store.reset().await.unwrap();
        assert_eq!(other.tally().await.unwrap(), Tally::new(0, 0), "{settings}");
        mysql
            .execute(
                "SET GLOBAL autocommit = 1, GLOBAL time_zone = DEFAULT, GLOBAL completion_type = 'NO_CHAIN', GLOBAL sql_mode = DEFAULT, \
                 GLOBAL sql_safe_updates = 0, GLOBAL sql_select_limit = DEFAULT, GLOBAL max_join_size = DEFAULT; \
                 SET GLOBAL TRANSACTION READ WRITE",
            )
            .await;
    }
}

#[tokio::test]
async fn mysql_tables_without_transactions_are_rejected() {
    let mysql = MySql::database().await;
    open_store(&mysql.url()).cast(ballot(Choice::First)).await.unwrap();
    mysql.execute("ALTER TABLE ballots ENGINE = MyISAM").await;
    let error = open_store(&mysql.url()).cast_new(ballot(Choice::First)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unusable(cause) if cause.contains("ballots (MyISAM)")), "{error}");
}

#[tokio::test]
async fn a_transfer_and_a_reset_are_read_back() {
    let mysql = MySql::database().await;
    let store = open_store(&mysql.url());
    store.cast(ballot(Choice::First)).await.unwrap();
    let other = Redis::database().await;
    let other_store = open_store(&other.url());
    other_store.cast(ballot(Choice::Second)).await.unwrap();
    // The server confirms every statement, yet changes nothing.
    mysql
        .execute(
            "CREATE TRIGGER no_merge BEFORE INSERT ON tallies FOR EACH ROW SET NEW.votes = 0; \
             CREATE TRIGGER no_reset BEFORE UPDATE ON tallies FOR EACH ROW SET NEW.reset_votes = OLD.reset_votes",
        )
        .await;
    let error = transfer::transfer(other_store.as_ref(), store.as_ref()).await.unwrap_err();
    assert!(error.to_string().contains("do not show it"), "{error}");
    let error = transfer::reset(store.as_ref()).await.unwrap_err();
    assert!(error.to_string().contains("do not show it"), "{error}");
    mysql.execute("DROP TRIGGER no_merge; DROP TRIGGER no_reset").await;
    transfer::transfer(other_store.as_ref(), store.as_ref()).await.unwrap();
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 1));
    transfer::reset(store.as_ref()).await.unwrap();
    assert_eq!(store.tally().await.unwrap(), Tally::new(0, 0));
}
