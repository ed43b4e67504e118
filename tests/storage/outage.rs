//! Stores that are away: at the start, in the middle, and at the moment of a commit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _};
use tokio::task::JoinSet;
use voting_core::{Cast, Choice, Choices, Tally};
use voting_storage::{StoreError, Timeouts, VoteStore, open};
use voting_tests::process::Signal;
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::{MySql, Redis};

use crate::contract::{SHORT_OUTAGE, ballot};

/// A store behind a proxy.
struct Remote {
    store: Arc<dyn VoteStore>,
    proxy: Proxy,
    _server: Box<dyn std::any::Any + Send>,
}

async fn redis(mode: Mode) -> Remote {
    let server = Redis::database().await;
    behind(mode, server.address(), |address| server.url_at(address)).await.keep(server)
}

async fn mysql(mode: Mode) -> Remote {
    let server = MySql::database().await;
    behind(mode, server.address(), |address| server.url_at(address)).await.keep(server)
}

async fn behind(mode: Mode, target: SocketAddr, url: impl Fn(SocketAddr) -> String) -> Remote {
    let proxy = Proxy::start(target, mode).await;
    let store = open(&url(proxy.address()).parse().unwrap(), &Choices::default()).unwrap();
    Remote { store, proxy, _server: Box::new(()) }
}

impl Remote {
    fn keep(self, server: impl std::any::Any + Send) -> Self {
        Self { _server: Box::new(server), ..self }
    }

    async fn serves_when_it_comes(self) {
        let start = Instant::now();
        let vote = ballot(Choice::First);
        let error = self.store.cast(vote).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert!(
            start.elapsed() < Timeouts::default().deadline + Duration::from_millis(500),
            "{:?}",
            start.elapsed()
        );
        self.proxy.set(Mode::Open);
        assert_eq!(self.store.cast(vote).await.unwrap(), Cast::Counted);
        assert_eq!(self.store.tally().await.unwrap(), Tally::new(1, 0));
    }

    async fn a_short_outage_loses_and_doubles_nothing(self, outage: Mode) {
        self.store.cast(ballot(Choice::Second)).await.unwrap();
        let mut voters = JoinSet::new();
        for _ in 0..20 {
            let store = self.store.clone();
            voters.spawn(async move {
                for _ in 0..30 {
                    store.cast(ballot(Choice::First)).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.proxy.set(outage);
        tokio::time::sleep(SHORT_OUTAGE).await;
        self.proxy.set(Mode::Open);
        voters.join_all().await;
        assert_eq!(self.store.tally().await.unwrap(), Tally::new(600, 1));
    }

    async fn a_lost_answer_is_settled_by_the_same_ballot(self) {
        self.store.cast(ballot(Choice::Second)).await.unwrap();
        self.proxy.set(Mode::DropAnswers);
        let vote = ballot(Choice::First);
        let error = self.store.cast(vote).await.unwrap_err();
        assert!(matches!(error, StoreError::Unconfirmed(_)), "{error}");
        self.proxy.set(Mode::Open);
        assert_eq!(self.store.cast(vote).await.unwrap(), Cast::AlreadyCounted);
        assert_eq!(self.store.tally().await.unwrap(), Tally::new(1, 1));
    }

    async fn a_silent_store_is_given_up_in_time(self) {
        self.store.cast(ballot(Choice::Second)).await.unwrap();
        self.proxy.set(Mode::Silent);
        let start = Instant::now();
        let mut voters = JoinSet::new();
        for _ in 0..50 {
            let store = self.store.clone();
            voters.spawn(async move { store.cast(ballot(Choice::First)).await });
        }
        assert!(voters.join_all().await.iter().all(Result::is_err));
        assert!(
            start.elapsed() < Timeouts::default().deadline + Duration::from_millis(500),
            "{:?}",
            start.elapsed()
        );
        self.proxy.set(Mode::Open);
        self.store.cast(ballot(Choice::Second)).await.unwrap();
    }
}

#[tokio::test]
async fn a_redis_that_is_away_at_the_start_is_used_when_it_comes() {
    redis(Mode::Closed).await.serves_when_it_comes().await;
}

#[tokio::test]
async fn a_mysql_that_is_away_at_the_start_is_used_when_it_comes() {
    mysql(Mode::Closed).await.serves_when_it_comes().await;
}

#[tokio::test]
async fn a_redis_that_is_lost_and_comes_back_keeps_the_count() {
    redis(Mode::Open).await.a_short_outage_loses_and_doubles_nothing(Mode::Closed).await;
}

#[tokio::test]
async fn a_mysql_that_is_lost_and_comes_back_keeps_the_count() {
    mysql(Mode::Open).await.a_short_outage_loses_and_doubles_nothing(Mode::Closed).await;
}

#[tokio::test]
async fn a_redis_whose_answers_are_lost_counts_each_ballot_once() {
    redis(Mode::Open).await.a_short_outage_loses_and_doubles_nothing(Mode::DropAnswers).await;
}

#[tokio::test]
async fn a_mysql_whose_answers_are_lost_counts_each_ballot_once() {
    mysql(Mode::Open).await.a_short_outage_loses_and_doubles_nothing(Mode::DropAnswers).await;
}

#[tokio::test]
async fn a_lost_answer_of_redis_is_settled_by_the_same_ballot() {
    redis(Mode::Open).await.a_lost_answer_is_settled_by_the_same_ballot().await;
}

#[tokio::test]
async fn a_lost_answer_of_mysql_is_settled_by_the_same_ballot() {
    mysql(Mode::Open).await.a_lost_answer_is_settled_by_the_same_ballot().await;
}

#[tokio::test]
async fn a_silent_redis_is_given_up_in_time() {
    redis(Mode::Open).await.a_silent_store_is_given_up_in_time().await;
}

#[tokio::test]
async fn a_silent_mysql_is_given_up_in_time() {
    mysql(Mode::Open).await.a_silent_store_is_given_up_in_time().await;
}

#[tokio::test]
async fn a_file_that_another_process_writes_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/votes.db", folder.path().display());
    let store = open(&url.parse().unwrap(), &Choices::default()).unwrap();
    store.cast(ballot(Choice::First)).await.unwrap();

    let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let refused = ballot(Choice::First);
    assert!(store.cast(refused).await.is_err());
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 0), "readers do not wait for a writer");
    other.execute("ROLLBACK").await.unwrap();

    store.cast(refused).await.unwrap();
    assert_eq!(store.tally().await.unwrap(), Tally::new(2, 0));
}

#[tokio::test]
async fn a_redis_that_was_frozen_does_not_count_later_what_has_failed() {
    let mut server = Redis::own().await;
    let store = open(&server.url().parse().unwrap(), &Choices::default()).unwrap();
    store.cast(ballot(Choice::Second)).await.unwrap();
    server.server().signal(Signal::Stop);
    let vote = ballot(Choice::First);
    let error = store.cast(vote).await.unwrap_err();
    assert!(matches!(error, StoreError::Unconfirmed(_)), "{error}");
    server.server().signal(Signal::Continue);
    // It finds the request in its socket now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(store.tally().await.unwrap(), Tally::new(0, 1));
    assert_eq!(store.cast(vote).await.unwrap(), Cast::Counted);
}
