//! Unreachable stores: at start-up, in operation, and at the moment of a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sqlx::{Connection as _, Executor as _};
use tokio::task::JoinSet;
use voting_core::{Ballot, Cast, Choice, Choices, Tally};
use voting_storage::{StoreError, Timeouts, VoteStore, open};
use voting_tests::process::Signal;
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::{MySql, Redis};
use voting_tests::store::{ballot, cast_until_confirmed, open_limited, open_store, tally_until_answered};
use voting_tests::{PATIENCE, Stopwatch, eventually, figure};

/// A store behind a proxy.
struct Remote {
    url: String,
    proxy: Proxy,
    _server: Box<dyn std::any::Any + Send>,
}

async fn redis(mode: Mode) -> Remote {
    let server = Redis::database().await;
    let proxy = Proxy::start(server.address(), mode).await;
    Remote { url: server.url_at(proxy.address()), proxy, _server: Box::new(server) }
}

async fn mysql(mode: Mode) -> Remote {
    let server = MySql::database().await;
    let proxy = Proxy::start(server.address(), mode).await;
    Remote { url: server.url_at(proxy.address()), proxy, _server: Box::new(server) }
}

impl Remote {
    fn open(&self) -> Arc<dyn VoteStore> {
        open(&self.url.parse().unwrap(), &Choices::default()).unwrap()
    }

    async fn serves_once_it_is_up(self) {
        let store = self.open();
        let vote = ballot(Choice::First);
        let stopwatch = Stopwatch::start();
        let error = store.cast_new(vote).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        stopwatch.assert_within(Timeouts::default().deadline, "a cast without a store");
        let refused = stopwatch.elapsed();
        self.proxy.set(Mode::Open);
        let recovery = Instant::now();
        assert_eq!(cast_until_confirmed(store.as_ref(), vote).await, Cast::Counted);
        let measured =
            format!("refused after {refused:.1?}, counted {:.1?} after its start", recovery.elapsed());
        figure("a store that is down at first", measured);
        assert_eq!(tally_until_answered(store.as_ref()).await, Tally::new(1, 0));
    }

    /// Casts under load while the store is interrupted for a moment. Every cast must succeed.
    async fn a_short_outage_loses_and_doubles_nothing(self, outage: Mode) {
        let store = open_store(&self.url);
        let (counted, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut voters = JoinSet::new();
        for _ in 0..20 {
            let (store, counted, stop) = (store.clone(), counted.clone(), stop.clone());
            voters.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    store.cast(ballot(Choice::First)).await.unwrap();
                    counted.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
            });
        }
        let more_votes = async || {
            let before = counted.load(Ordering::Relaxed);
            eventually("100 more votes", PATIENCE, async || counted.load(Ordering::Relaxed) >= before + 100)
                .await;
        };
        more_votes().await;
        self.proxy.set(outage);
        tokio::time::sleep(Duration::from_millis(700)).await;
        self.proxy.set(Mode::Open);
        more_votes().await;
        stop.store(true, Ordering::Relaxed);
        voters.join_all().await;
        assert_eq!(store.tally().await.unwrap(), Tally::new(counted.load(Ordering::Relaxed), 0));
    }

    async fn a_lost_answer_is_settled_by_the_same_ballot(self) {
        let store = self.open();
        let (interrupt, restore) = (|| self.proxy.set(Mode::DropAnswers), || self.proxy.set(Mode::Open));
        let (vote, others) = unconfirmed_vote(store.as_ref(), interrupt, restore).await;
        restore();
        eventually("the store answers", PATIENCE, async || store.ping().await.is_ok()).await;
        assert_eq!(cast_until_confirmed(store.as_ref(), vote).await, Cast::AlreadyCounted);
        assert_eq!(store.tally().await.unwrap(), Tally::new(1, others));
    }

    /// Each answer takes a third of the deadline, so that two batches fit into it and a new connection does not.
    async fn takes_every_vote_while_slow(self) {
        let [deadline, attempt, connect] = [12, 8, 6].map(Duration::from_secs);
        let store = open_limited(&self.url, Timeouts { deadline, attempt, connect });
        store.cast_new(ballot(Choice::First)).await.unwrap();
        self.proxy.set(Mode::Distant(deadline / 6));
        let mut voters = JoinSet::new();
        for number in 0..60 {
            let store = store.clone();
            voters.spawn(async move {
                // The first one is alone, so that the others find a busy connection.
                tokio::time::sleep(Duration::from_millis(number * 10)).await;
                for _ in 0..3 {
                    assert_eq!(store.cast_new(ballot(Choice::First)).await.unwrap(), Cast::Counted);
                }
            });
        }
        while let Some(voter) = voters.join_next().await {
            voter.unwrap();
        }
        self.proxy.set(Mode::Open);
        assert_eq!(store.tally().await.unwrap(), Tally::new(181, 0));
        figure("a store whose answers take a third of the deadline", "181 of 181 ballots accepted");
    }

    /// After a cut call, more ballots than the queue and the batches in flight can hold.
    async fn rejects_on_arrival_while_the_last_call_was_cut(self) {
        let store = self.open();
        cast_until_confirmed(store.as_ref(), ballot(Choice::Second)).await;
        self.proxy.set(Mode::Silent);
        assert!(store.cast_new(ballot(Choice::First)).await.is_err());
        let casts = (0..12_000).map(|_| store.cast_new(ballot(Choice::First)));
        let errors: Vec<_> = join_all(casts).await.into_iter().filter_map(Result::err).collect();
        let rejected: Vec<_> =
            errors.iter().filter(|error| matches!(error, StoreError::Overloaded(_))).collect();
        assert_eq!(errors.len(), 12_000);
        assert!(
            rejected.len() >= 1000,
            "{} of {} rejected, as {:?}",
            rejected.len(),
            errors.len(),
            errors.last()
        );
        for error in rejected {
            assert!(error.to_string().contains("last error: "), "{error}");
        }
        self.proxy.set(Mode::Open);
        cast_until_confirmed(store.as_ref(), ballot(Choice::Second)).await;
    }

    async fn a_cast_in_a_silent_network_ends_by_its_deadline(self) {
        let store = self.open();
        cast_until_confirmed(store.as_ref(), ballot(Choice::Second)).await;
        self.proxy.set(Mode::Silent);
        let stopwatch = Stopwatch::start();
        let mut voters = JoinSet::new();
        for _ in 0..50 {
            let store = store.clone();
            voters.spawn(async move { store.cast(ballot(Choice::First)).await });
        }
        assert!(voters.join_all().await.iter().all(Result::is_err));
        stopwatch.assert_within(Timeouts::default().deadline, "casts in a silent network");
        self.proxy.set(Mode::Open);
        cast_until_confirmed(store.as_ref(), ballot(Choice::Second)).await;
    }
}

/// Casts a ballot whose answer is lost. Also returns the number of other ballots, which are votes for the second choice.
///
/// A connection that was idle, on a busy machine, is probed before a ballot is sent. The probe fails, and the ballot is
/// refused: it must not be counted. Then the next attempt uses a new ballot.
async fn unconfirmed_vote(store: &dyn VoteStore, interrupt: impl Fn(), restore: impl Fn()) -> (Ballot, u64) {
    let start = Instant::now();
    let mut others = 0;
    while start.elapsed() < PATIENCE {
        cast_until_confirmed(store, ballot(Choice::Second)).await;
        others += 1;
        interrupt();
        let vote = ballot(Choice::First);
        match store.cast_new(vote).await.unwrap_err() {
            StoreError::Unconfirmed(_) => return (vote, others),
            StoreError::Unavailable(_) => {
                restore();
                let same_id = Ballot { choice: Choice::Second, ..vote };
                assert_eq!(cast_until_confirmed(store, same_id).await, Cast::Counted, "was refused");
                others += 1;
            }
            error @ (StoreError::Overloaded(_) | StoreError::Unusable(_)) => panic!("{error}"),
        }
    }
    panic!("no cast was unconfirmed");
}

#[tokio::test]
async fn a_redis_that_is_down_at_the_start_is_used_once_it_is_up() {
    redis(Mode::Closed).await.serves_once_it_is_up().await;
}

#[tokio::test]
async fn a_mysql_that_is_down_at_the_start_is_used_once_it_is_up() {
    mysql(Mode::Closed).await.serves_once_it_is_up().await;
}

#[tokio::test]
async fn a_short_outage_of_redis_loses_and_doubles_nothing() {
    redis(Mode::Open).await.a_short_outage_loses_and_doubles_nothing(Mode::Closed).await;
}

#[tokio::test]
async fn a_short_outage_of_mysql_loses_and_doubles_nothing() {
    mysql(Mode::Open).await.a_short_outage_loses_and_doubles_nothing(Mode::Closed).await;
}

#[tokio::test]
async fn lost_answers_of_redis_lose_and_double_nothing() {
    redis(Mode::Open).await.a_short_outage_loses_and_doubles_nothing(Mode::DropAnswers).await;
}

#[tokio::test]
async fn lost_answers_of_mysql_lose_and_double_nothing() {
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
async fn a_slow_redis_takes_every_vote_while_two_batches_fit_into_the_deadline() {
    redis(Mode::Open).await.takes_every_vote_while_slow().await;
}

#[tokio::test]
async fn a_slow_mysql_takes_every_vote_while_two_batches_fit_into_the_deadline() {
    mysql(Mode::Open).await.takes_every_vote_while_slow().await;
}

#[tokio::test]
async fn too_many_ballots_for_a_silent_redis_are_rejected_as_overload() {
    redis(Mode::Open).await.rejects_on_arrival_while_the_last_call_was_cut().await;
}

#[tokio::test]
async fn too_many_ballots_for_a_silent_mysql_are_rejected_as_overload() {
    mysql(Mode::Open).await.rejects_on_arrival_while_the_last_call_was_cut().await;
}

#[tokio::test]
async fn a_cast_to_a_silent_redis_ends_by_its_deadline() {
    redis(Mode::Open).await.a_cast_in_a_silent_network_ends_by_its_deadline().await;
}

#[tokio::test]
async fn a_cast_to_a_silent_mysql_ends_by_its_deadline() {
    mysql(Mode::Open).await.a_cast_in_a_silent_network_ends_by_its_deadline().await;
}

#[tokio::test]
async fn a_locked_sqlite_file_refuses_votes_until_it_is_unlocked() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/votes.db", folder.path().display());
    let store = open(&url.parse().unwrap(), &Choices::default()).unwrap();
    cast_until_confirmed(store.as_ref(), ballot(Choice::First)).await;

    let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let refused = ballot(Choice::First);
    assert!(store.cast(refused).await.is_err());
    assert_eq!(
        tally_until_answered(store.as_ref()).await,
        Tally::new(1, 0),
        "readers do not wait for a writer"
    );
    other.execute("ROLLBACK").await.unwrap();

    cast_until_confirmed(store.as_ref(), refused).await;
    assert_eq!(store.tally().await.unwrap(), Tally::new(2, 0));
}

#[tokio::test]
async fn a_redis_that_was_frozen_does_not_count_expired_requests() {
    let mut server = Redis::own().await;
    let store = open(&server.url().parse().unwrap(), &Choices::default()).unwrap();
    let server = server.server();
    let (interrupt, restore) = (|| server.signal(Signal::Stop), || server.signal(Signal::Continue));
    let (vote, others) = unconfirmed_vote(store.as_ref(), interrupt, restore).await;
    restore();
    // A new connection is answered after the requests that are already in the server's sockets.
    eventually("the store answers", PATIENCE, async || store.ping().await.is_ok()).await;
    assert_eq!(store.tally().await.unwrap(), Tally::new(0, others));
    assert_eq!(cast_until_confirmed(store.as_ref(), vote).await, Cast::Counted);
}

/// With more round trips, a distant Redis has no time for a vote on a new connection.
#[tokio::test]
async fn the_first_vote_on_a_connection_to_redis_takes_three_round_trips() {
    const LATENCY: Duration = Duration::from_millis(100);
    let remote = redis(Mode::Distant(LATENCY)).await;
    // The fastest of several attempts: this machine may be busy, and the first one loads the scripts.
    eventually("a first vote within three round trips", PATIENCE, async || {
        let (store, start) = (remote.open(), Instant::now());
        let cast = store.cast_new(ballot(Choice::First)).await;
        cast.is_ok() && start.elapsed() < 7 * LATENCY
    })
    .await;
}
