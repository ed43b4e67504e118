//! Waits and time limits that also hold on a busy machine.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Limit of a wait for an event. Only a failing test reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a condition holds; panics after `limit`.
pub async fn eventually<F: Future<Output = bool>>(what: &str, limit: Duration, check: impl Fn() -> F) {
    let start = Instant::now();
    while !check().await {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Checks that an operation keeps its deadline, without blaming it for a busy machine.
///
/// A thread measures meanwhile how much longer than on an idle machine a fixed amount of work takes. The operation may
/// exceed its deadline by [`Stopwatch::WORK`] times that factor.
#[derive(Debug)]
pub struct Stopwatch {
    start: Instant,
    probe: Arc<Probe>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Probe {
    stop: AtomicBool,
    /// CPU time of the probe's work, and the time that it took, in microseconds.
    cpu: AtomicU64,
    wall: AtomicU64,
}

impl Stopwatch {
    /// Work that an operation may do in addition to its deadline, on an idle machine: connecting, rendering, scheduling.
    const WORK: Duration = Duration::from_secs(1);

    pub fn start() -> Self {
        let probe = Arc::new(Probe::default());
        let thread = std::thread::spawn({
            let probe = probe.clone();
            move || {
                while !probe.stop.load(Ordering::Relaxed) {
                    probe.work();
                    std::thread::park_timeout(Duration::from_millis(80));
                }
            }
        });
        Self { start: Instant::now(), probe, thread: Some(thread) }
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Panics if the deadline, counted from the start, was exceeded.
    pub fn assert_within(&self, deadline: Duration, what: impl Display) {
        let elapsed = self.elapsed();
        let slowdown = self.probe.slowdown();
        let limit = deadline + Self::WORK.mul_f64(slowdown);
        assert!(
            elapsed < limit,
            "{what}: {elapsed:?} with a deadline of {deadline:?} on a machine that is {slowdown:.1} times slower than idle"
        );
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        self.probe.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Probe {
    /// Computes until it has used 20 ms of CPU time: long enough to be interrupted by other processes.
    fn work(&self) {
        const WORK: Duration = Duration::from_millis(20);
        let (start, before) = (Instant::now(), thread_cpu_time());
        let mut used = Duration::ZERO;
        while used < WORK && !self.stop.load(Ordering::Relaxed) {
            used = thread_cpu_time().saturating_sub(before);
        }
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.cpu.fetch_add(micros(used), Ordering::Relaxed);
        self.wall.fetch_add(micros(start.elapsed()), Ordering::Relaxed);
    }

    fn slowdown(&self) -> f64 {
        let [cpu, wall] = [&self.cpu, &self.wall].map(|time| time.load(Ordering::Relaxed) as f64);
        if cpu > 0.0 { (wall / cpu).max(1.0) } else { 1.0 }
    }
}

#[allow(unsafe_code, reason = "the standard library has no clock of a thread's CPU time")]
fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime(2) writes to the struct that it is given and to nothing else.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}
