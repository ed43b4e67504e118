//! Faults of the public port's requests: slow start, latency, errors, memory leak and crash.

use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use tokio::time::{Instant, sleep};

use crate::faults::Faults;
use crate::grammar::Fault;

/// The most memory that leaks within a second, however many requests arrive: a node has time to act.
const LEAK_PER_SECOND: usize = 16 * 1024 * 1024;

/// How long a crash waits for the log line that announces it.
const LOG_TIME: Duration = Duration::from_millis(100);

/// A request that is not handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InjectedError {
    /// The fault.
    pub fault: Fault,
    /// The status of the response.
    pub status: StatusCode,
}

/// These routes, whose requests have the faults. `respond` makes the response of a request that is not handled.
pub fn inject<S: Clone + Send + Sync + 'static>(
    faults: &Faults,
    routes: Router<S>,
    respond: fn(InjectedError) -> Response,
) -> Router<S> {
    let requests =
        Arc::new(Requests { faults: faults.clone(), arrived: AtomicU64::new(0), leak: Mutex::default() });
    routes.layer(from_fn(move |request: Request, next: Next| {
        let requests = requests.clone();
        async move {
            match requests.arrive().await {
                Ok(()) => next.run(request).await,
                Err(error) => respond(error),
            }
        }
    }))
}

struct Requests {
    faults: Faults,
    arrived: AtomicU64,
    leak: Mutex<Leak>,
}

impl Requests {
    /// Has a request wait, fail or crash the program. All draws of a request are made when it arrives, so that a run with
    /// the same order of requests repeats.
    async fn arrive(&self) -> Result<(), InjectedError> {
        let (faults, plan) = (&self.faults, self.faults.plan());
        let number = self.arrived.fetch_add(1, Ordering::Relaxed);
        let (is_slow, fails) = (
            faults.hits(Fault::Tail, plan.tail.map(|(rate, _)| rate)),
            faults.hits(Fault::Error, plan.error),
        );
        if let Some(requests) = plan.crash_after.filter(|requests| number >= *requests) {
            self.crash(number == requests).await;
        }
        if let Some(size) = plan.leak
            && self.leak.lock().unwrap_or_else(PoisonError::into_inner).keep(size, Instant::now())
        {
            faults.count(Fault::Leak);
        }
        if plan.slow_start.is_some_and(|time| faults.age() < time) {
            faults.count(Fault::SlowStart);
            return Err(InjectedError { fault: Fault::SlowStart, status: StatusCode::SERVICE_UNAVAILABLE });
        }
        if let Some(latency) = plan.latency {
            faults.count(Fault::Latency);
            sleep(latency).await;
        }
        if let Some((_, latency)) = plan.tail.filter(|_| is_slow) {
            faults.count(Fault::Tail);
            sleep(latency).await;
        }
        if fails {
            faults.count(Fault::Error);
            return Err(InjectedError { fault: Fault::Error, status: StatusCode::INTERNAL_SERVER_ERROR });
        }
        Ok(())
    }

    /// Aborts the process at the first request after the last one; later ones wait for that.
    async fn crash(&self, is_first: bool) {
        if !is_first {
            return pending().await;
        }
        self.faults.count(Fault::CrashAfter);
        tracing::error!(fault = Fault::CrashAfter.name(), "injected crash");
        sleep(LOG_TIME).await;
        std::process::abort();
    }
}

/// Memory that is never freed.
#[derive(Default)]
struct Leak {
    kept: Vec<Box<[u8]>>,
    /// The start of the present second, and the bytes since.
    second: Option<(Instant, usize)>,
}

impl Leak {
    /// Keeps more memory, unless too much has leaked within this second.
    fn keep(&mut self, size: usize, now: Instant) -> bool {
        let present = self.second.filter(|(start, _)| now - *start < Duration::from_secs(1));
        let (start, bytes) = present.unwrap_or((now, 0));
        if bytes + size > LEAK_PER_SECOND {
            return false;
        }
        self.second = Some((start, bytes + size));
        // Not zeros: the system lends memory only when it is written.
        self.kept.push(vec![1; size].into());
        true
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::grammar::FaultPlan;

    fn requests(faults: &str) -> Requests {
        let plan = FaultPlan::of_app(faults).unwrap();
        let faults = Faults::start(plan, &mut Registry::default());
        Requests { faults, arrived: AtomicU64::new(0), leak: Mutex::default() }
    }

    async fn failures(faults: &str) -> Vec<bool> {
        let requests = requests(faults);
        let mut failures = Vec::new();
        for _ in 0..2000 {
            failures.push(requests.arrive().await.is_err());
        }
        let failed = failures.iter().filter(|failed| **failed).count();
        assert_eq!(requests.faults.injected(Fault::Error), failed as u64);
        failures
    }

    #[tokio::test(start_paused = true)]
    async fn errors_have_their_rate_and_repeat_with_the_seed() {
        let failures_of_seed_1 = failures("error=5%,seed=1").await;
        assert!((60..140).contains(&failures_of_seed_1.iter().filter(|failed| **failed).count()));
        assert_eq!(failures("tail=50%:1s,error=5%,seed=1").await, failures_of_seed_1);
        assert_ne!(failures("error=5%,seed=2").await, failures_of_seed_1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_of_requests_takes_much_longer() {
        let requests = requests("latency=200ms,tail=10%:2s,seed=3");
        let mut slow = 0;
        for _ in 0..1000 {
            let start = Instant::now();
            requests.arrive().await.unwrap();
            slow += match start.elapsed().as_millis() {
                200 => 0,
                2200 => 1,
                other => panic!("{other} ms"),
            };
        }
        assert!((70..130).contains(&slow), "{slow}");
        assert_eq!(
            (requests.faults.injected(Fault::Latency), requests.faults.injected(Fault::Tail)),
            (1000, slow)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn requests_fail_until_the_slow_start_is_over() {
        let requests = requests("slow-start=20s");
        for (wait, status) in [(0, Some(503)), (19, Some(503)), (2, None)] {
            sleep(Duration::from_secs(wait)).await;
            let error = requests.arrive().await.err();
            assert_eq!(error.map(|error| error.status.as_u16()), status);
        }
    }

    #[test]
    fn a_leak_is_bounded_per_second() {
        let (mut leak, start) = (Leak::default(), Instant::now());
        let kept = |leak: &mut Leak, now| (0..40).filter(|_| leak.keep(1 << 20, now)).count();
        assert_eq!(kept(&mut leak, start), 16);
        assert_eq!(kept(&mut leak, start + Duration::from_millis(999)), 0);
        assert_eq!(kept(&mut leak, start + Duration::from_secs(1)), 16);
    }
}
