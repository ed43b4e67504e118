//! The guarantees of a [`Batcher`] under thousands of interleavings of its tasks, which the scheduler of `shuttle` chooses.
//! A failure prints the interleaving, and how to run it again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use shuttle::current::{get_current_task, set_label_for_task};
use shuttle::future::{block_on, yield_now};
use shuttle::rand::Rng as _;

use crate::runtime::{spawn, time};
use crate::{BatchHandler, BatchMetrics, Batcher, SubmitError};

/// Requests of one interleaving.
const REQUESTS: usize = 6;

/// Marks the tasks of requesters whose deadline passes.
#[derive(Clone, Copy, Debug)]
struct GivesUp;

/// Answers each request with its number. Preparing fails now and then.
struct Echo(Arc<Mutex<Vec<usize>>>);

impl BatchHandler for Echo {
    type Request = usize;
    type Answer = Option<usize>;
    const MAX_BATCH: usize = 3;
    const PARALLEL_BELOW: usize = 3;

    async fn prepare(&mut self) -> Result<(), Option<usize>> {
        yield_now().await;
        if shuttle::rand::thread_rng().gen_bool(0.2) { Err(None) } else { Ok(()) }
    }

    async fn handle(&mut self, batch: &[usize], _until: time::Instant) -> Vec<Option<usize>> {
        assert!((1..=Self::MAX_BATCH).contains(&batch.len()));
        yield_now().await;
        self.0.lock().unwrap().extend(batch);
        yield_now().await;
        batch.iter().copied().map(Some).collect()
    }
}

/// Requests, some with a deadline that passes at any moment, on two handlers.
async fn crowd() {
    time::clear_triggers();
    let handled = Arc::new(Mutex::new(Vec::new()));
    let batcher = Batcher::start([0, 1].map(|_| Echo(handled.clone())), BatchMetrics::default());
    let mut requests = Vec::new();
    for number in 0..REQUESTS {
        let batcher = batcher.clone();
        let gives_up = number % 2 == 0;
        // Too little time for a call of the length of the others, or plenty.
        let left = Duration::from_secs(if number % 3 == 0 { 0 } else { 3600 });
        requests.push(spawn(async move {
            if gives_up && let Some(task) = get_current_task() {
                set_label_for_task(task, GivesUp);
            }
            (gives_up, batcher.submit(number, time::Instant::now() + left).await)
        }));
    }
    drop(batcher);
    let deadline = spawn(async {
        yield_now().await;
        time::trigger_timeouts(|labels| labels.get::<GivesUp>().is_some());
    });
    let mut results = Vec::new();
    for request in requests {
        results.push(request.await.unwrap());
    }
    deadline.await.unwrap();
    // Calls of requesters that gave up go on.
    for _ in 0..20 {
        yield_now().await;
    }
    let handled = handled.lock().unwrap();
    for (number, (gives_up, result)) in results.into_iter().enumerate() {
        let times = handled.iter().filter(|other| **other == number).count();
        match result {
            Ok(Some(answer)) => {
                assert!(answer == number && times == 1, "{answer} to {number}, {times} times")
            }
            Ok(None) => assert_eq!(times, 0, "{number} was handled by a handler that was not prepared"),
            Err(reason @ (SubmitError::NotStarted | SubmitError::Overloaded)) => {
                assert_eq!(times, 0, "{number}: {reason:?}, and handled")
            }
            Err(SubmitError::OutcomeUnknown) => assert!(gives_up && times <= 1, "{number}, {times} times"),
        }
    }
}

#[test]
fn each_request_is_handled_once_or_not_at_all_as_its_requester_is_told() {
    shuttle::check_random(|| block_on(crowd()), 3000);
}

#[test]
fn the_guarantees_hold_under_unfair_scheduling() {
    shuttle::check_pct(|| block_on(crowd()), 3000, 3);
}
