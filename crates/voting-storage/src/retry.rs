//! Retries with backoff and jitter, until a deadline.

use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use crate::store::StoreError;

/// Delay before the first retry, doubled for each further one.
const FIRST_DELAY: Duration = Duration::from_millis(20);
/// Longest delay. Jitter adds up to as much again, so that voters and replicas don't retry in step.
const MAX_DELAY: Duration = Duration::from_millis(150);

/// Retries until the deadline, unless an error says that a retry won't help. Safe because every operation of a store
/// is idempotent.
pub(crate) async fn retry<T, F: Future<Output = Result<T, StoreError>>>(
    within: Duration,
    attempt: impl Fn(Instant) -> F,
) -> Result<T, StoreError> {
    let deadline = Instant::now() + within;
    let backoff = ExponentialBuilder::new().with_min_delay(FIRST_DELAY).with_max_delay(MAX_DELAY);
    let mut delays = backoff.with_jitter().without_max_times().build();
    // An attempt without a confirmed outcome stays unconfirmed, whatever a later attempt says.
    let mut unconfirmed = None;
    loop {
        let error = match attempt(deadline).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if matches!(error, StoreError::Unconfirmed(_)) {
            unconfirmed = Some(error.clone());
        }
        let delay = delays.next().unwrap_or(MAX_DELAY);
        if matches!(error, StoreError::Overloaded(_) | StoreError::Unusable(_))
            || Instant::now() + delay >= deadline
        {
            return Err(unconfirmed.unwrap_or(error));
        }
        sleep(delay).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Attempts that end with these results, one after the other; the last one repeats.
    async fn run(results: &[Result<u8, StoreError>]) -> (Result<u8, StoreError>, usize) {
        let tried = Mutex::new(0);
        let attempt = |_| {
            let mut tried = tried.lock().unwrap();
            let result = results[(*tried).min(results.len() - 1)].clone();
            *tried += 1;
            async move { result }
        };
        let result = retry(Duration::from_secs(3), attempt).await;
        let tried = *tried.lock().unwrap();
        (result, tried)
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_attempt_is_repeated_until_the_deadline() {
        let down = || Err(StoreError::unavailable("down"));
        assert!(matches!(run(&[down(), down(), Ok(7)]).await, (Ok(7), 3)));
        let start = Instant::now();
        let (result, tried) = run(&[down()]).await;
        assert!(matches!(result, Err(StoreError::Unavailable(_))));
        assert!(start.elapsed() <= Duration::from_secs(3) && tried > 8, "{:?}, {tried}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_no_retry_helps_ends_at_once() {
        for error in [StoreError::unusable("no permission"), StoreError::overloaded("too slow")] {
            let (result, tried) = run(&[Err(error)]).await;
            assert!(matches!((result, tried), (Err(StoreError::Unusable(_) | StoreError::Overloaded(_)), 1)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_error_does_not_retract_an_unconfirmed_outcome() {
        let unconfirmed = || Err(StoreError::unconfirmed("no answer"));
        for later in [StoreError::unavailable("down"), StoreError::unusable("no permission")] {
            let (result, _) = run(&[unconfirmed(), Err(later)]).await;
            assert!(matches!(result, Err(StoreError::Unconfirmed(_))), "{result:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retries_of_several_callers_spread_out() {
        let mut ends = std::collections::HashSet::new();
        for _ in 0..10 {
            let start = Instant::now();
            run(&[Err(StoreError::unavailable("down")), Ok(1)]).await.0.unwrap();
            ends.insert(start.elapsed().as_millis());
        }
        assert!(ends.len() > 2, "{ends:?}");
    }
}
