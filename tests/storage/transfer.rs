//! Transfers: between any two backends, interrupted, and while both stores take votes.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use voting_core::{Choice, Tally};
use voting_storage::VoteStore;
use voting_storage::transfer::transfer;
use voting_tests::process::{clean, program};
use voting_tests::servers::{MySql, Redis};
use voting_tests::store::{ballot, open_store};
use voting_tests::{PATIENCE, eventually, figure};

/// An event at one of two stores.
#[derive(Clone, Copy, Debug)]
enum Event {
    Cast {
        at: usize,
        choice: Choice,
        votes: u8,
    },
    Reset {
        at: usize,
    },
    /// A transfer to the other store.
    Transfer {
        from: usize,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let choice = prop_oneof![Just(Choice::First), Just(Choice::Second)];
    prop_oneof![
        4 => (0..2_usize, choice, 1..4_u8).prop_map(|(at, choice, votes)| Event::Cast { at, choice, votes }),
        1 => (0..2_usize).prop_map(|at| Event::Reset { at }),
        2 => (0..2_usize).prop_map(|from| Event::Transfer { from }),
    ]
}

/// The expected state, vote by vote: a store knows the votes that were cast in it or transferred to it, and a reset deletes
/// the votes that the store knows.
#[derive(Default)]
struct Model {
    cast: Vec<Choice>,
    known: [HashSet<usize>; 2],
    /// Known votes that were deleted by a reset.
    deleted: [HashSet<usize>; 2],
}

impl Model {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Cast { at, choice, votes } => {
                for _ in 0..votes {
                    self.known[at].insert(self.cast.len());
                    self.cast.push(choice);
                }
            }
            Event::Reset { at } => self.deleted[at] = self.known[at].clone(),
            Event::Transfer { from } => {
                for votes in [&mut self.known, &mut self.deleted] {
                    let sent = votes[from].clone();
                    votes[1 - from].extend(sent);
                }
            }
        }
    }

    fn tally(&self, at: usize) -> Tally {
        let [first, second] = Choice::ALL.map(|choice| {
            let counts =
                self.known[at].difference(&self.deleted[at]).filter(|vote| self.cast[**vote] == choice);
            u64::try_from(counts.count()).unwrap()
        });
        Tally::new(first, second)
    }
}

async fn play(stores: &[Arc<dyn VoteStore>; 2], events: &[Event]) {
    let mut model = Model::default();
    let end = [Event::Transfer { from: 0 }, Event::Transfer { from: 1 }];
    for event in events.iter().chain(&end) {
        match *event {
            Event::Cast { at, choice, votes } => {
                for _ in 0..votes {
                    stores[at].cast(ballot(choice)).await.unwrap();
                }
            }
            Event::Reset { at } => stores[at].reset().await.unwrap(),
            Event::Transfer { from } => {
                transfer(stores[from].as_ref(), stores[1 - from].as_ref()).await.unwrap();
            }
        }
        model.apply(*event);
        for (at, store) in stores.iter().enumerate() {
            let expected = model.tally(at);
            assert_eq!(store.tally().await.unwrap(), expected, "store {at} after {event:?} of {events:?}");
        }
    }
    assert_eq!(stores[0].snapshot().await.unwrap(), stores[1].snapshot().await.unwrap());
}

/// Servers that live as long as a case.
type Servers = Box<dyn std::any::Any>;

/// Checks that after any interleaving both stores have the votes of the model.
fn any_interleaving_ends_equal(
    runtime: &tokio::runtime::Runtime,
    cases: u32,
    stores: impl Fn() -> ([Arc<dyn VoteStore>; 2], Servers),
) {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    runner
        .run(&prop::collection::vec(event(), 1..14), |events| {
            let (stores, _servers) = stores();
            runtime.block_on(play(&stores, &events));
            Ok(())
        })
        .unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn any_interleaving_between_redis_and_sqlite_ends_equal() {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let cases = AtomicU64::new(0);
    any_interleaving_ends_equal(&runtime, 40, || {
        let case = cases.fetch_add(1, Ordering::Relaxed);
        runtime.block_on(async {
            let redis = Redis::database().await;
            let file = format!("sqlite:{}/{case}.db", folder.path().display());
            ([open_store(&redis.url()), open_store(&file)], Box::new(redis) as Servers)
        })
    });
}

#[test]
fn any_interleaving_between_redis_and_mysql_ends_equal() {
    let runtime = runtime();
    any_interleaving_ends_equal(&runtime, 15, || {
        runtime.block_on(async {
            let (redis, mysql) = (Redis::database().await, MySql::database().await);
            ([open_store(&redis.url()), open_store(&mysql.url())], Box::new((redis, mysql)) as Servers)
        })
    });
}

/// Casts votes until `stop` is set, and counts them.
fn voters(
    store: &Arc<dyn VoteStore>,
    choice: Choice,
    stop: &Arc<AtomicBool>,
) -> (tokio::task::JoinHandle<()>, Arc<AtomicU64>) {
    let (store, stop, counted) = (store.clone(), stop.clone(), Arc::new(AtomicU64::new(0)));
    let task = tokio::spawn({
        let counted = counted.clone();
        async move {
            while !stop.load(Ordering::Relaxed) {
                store.cast(ballot(choice)).await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    (task, counted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_transfer_under_load_loses_and_doubles_nothing() {
    let (redis, mysql) = (Redis::database().await, MySql::database().await);
    let urls = [redis.url(), mysql.url()];
    let stores = urls.each_ref().map(|url| open_store(url));
    for store in &stores {
        store.ping().await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (first, in_redis) = voters(&stores[0], Choice::First, &stop);
    let (second, in_mysql) = voters(&stores[1], Choice::Second, &stop);
    let tool = program("voting-storage");
    let start = |from: usize, to: usize| {
        let mut tool = clean(&tool);
        tool.args(["transfer", "--from", &urls[from], "--to", &urls[to]]).stdout(std::process::Stdio::null());
        tool.spawn().unwrap()
    };
    // On a busy machine one may miss a deadline.
    let whole = Cell::new(Duration::ZERO);
    eventually("a transfer succeeds", PATIENCE, async || {
        let begin = Instant::now();
        let is_done = start(0, 1).wait().await.unwrap().success();
        whole.set(begin.elapsed());
        is_done
    })
    .await;
    // The delays before the kills cover the duration of a transfer and a little more.
    for round in 0..24_u32 {
        let (from, to) = if round % 2 == 0 { (0, 1) } else { (1, 0) };
        let mut tool = start(from, to);
        tokio::time::sleep(whole.get() * round / 20).await;
        tool.kill().await.unwrap();
    }
    let counted = || in_redis.load(Ordering::Relaxed) + in_mysql.load(Ordering::Relaxed);
    eventually("the stores took votes", PATIENCE, async || counted() > 100).await;
    stop.store(true, Ordering::Relaxed);
    first.await.unwrap();
    second.await.unwrap();
    for (from, to) in [(0, 1), (1, 0)] {
        transfer(stores[from].as_ref(), stores[to].as_ref()).await.unwrap();
    }
    let all = Tally::new(in_redis.load(Ordering::Relaxed), in_mysql.load(Ordering::Relaxed));
    for store in &stores {
        assert_eq!(store.tally().await.unwrap(), all);
    }
    figure("24 killed transfers under votes", format!("{} votes, lost 0, doubled 0", counted()));
}
