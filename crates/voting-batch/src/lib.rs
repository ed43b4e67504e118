//! Request batching: concurrent requests that share one call.
//!
//! A [`Batcher`] has one [`BatchHandler`] or several. While one of them is busy, arriving requests queue up and form the
//! next batch: there is no timer, and a batch is bounded. A lone request is handled at once, and a crowd shares one
//! transaction or one read. With fewer requests in flight than [`BatchHandler::PARALLEL_BELOW`], the next batch starts
//! at once on an idle handler (latency wins). Otherwise it waits: larger batches cost less work per request. A read is
//! never older than any request of its batch.
//!
//! A request whose deadline passes while it queues is removed and never handled. So is one with too little time left for
//! a call of the present length, unless the whole batch is: a slow backend then serves the requests that it can serve in
//! time, and the others are told early. A request that even calls as short as the last few can't serve in time, because
//! a whole batch or more waits before it, is rejected on arrival. A request whose deadline passes while its batch is in flight ends
//! with [`SubmitError::OutcomeUnknown`]; the call goes on for the others.

#[cfg(test)]
#[cfg(feature = "shuttle")]
mod interleavings;
mod metrics;
mod runtime;

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::Either;
use futures_util::stream::FuturesUnordered;
use tracing::{Instrument as _, Span};

#[cfg(feature = "shuttle")]
use runtime::ReceiveMany as _;
use runtime::time::{self, Instant};
use runtime::{AtomicBool, mpsc, oneshot, select, spawn};

pub use metrics::{BATCH_SIZE_HELP, BatchMetrics, GaugeGuard, WAITING_HELP, batch_size_histogram};

/// Handles the batches of a [`Batcher`].
pub trait BatchHandler: Send + 'static {
    /// A request.
    type Request: Send + Sync + 'static;
    /// The answer to one request.
    type Answer: Clone + Send + 'static;
    /// The largest batch, in requests.
    const MAX_BATCH: usize;
    /// While fewer requests than this are in flight, a further batch may start on an idle handler.
    const PARALLEL_BELOW: usize = 1;

    /// Prepares for a batch, for instance by connecting, before the batch is closed: a request that is abandoned
    /// meanwhile is not handled. An `Err` is the answer to every request of the batch.
    fn prepare(&mut self) -> impl Future<Output = Result<(), Self::Answer>> + Send {
        std::future::ready(Ok(()))
    }

    /// Whether the handler could start at once. Those that could not, because they are not connected for instance, are used
    /// only when no other one is ready or busy.
    fn is_ready(&self) -> bool {
        true
    }

    /// Whether the handler needs [`BatchHandler::maintain`].
    fn needs_maintenance(&self) -> bool {
        false
    }

    /// Makes the handler ready, or keeps it so, without any request: after a batch, or while another handler has one.
    fn maintain(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// The span of a call: a child of the span in which the first request of the batch was submitted. It is linked to
    /// the spans of the others.
    fn span(&self, _parent: &Span) -> Span {
        Span::none()
    }

    /// Handles a batch of at least one request; returns one answer per request, in order. The call must not take effect
    /// after `until`, the latest deadline in the batch, as far as the backend can guarantee it.
    fn handle(
        &mut self,
        batch: &[Self::Request],
        until: Instant,
    ) -> impl Future<Output = Vec<Self::Answer>> + Send;
}

/// A handle to the queue of some handlers; clones share it.
pub struct Batcher<H: BatchHandler> {
    queue: mpsc::Sender<Pending<H>>,
    pace: Pace,
    metrics: BatchMetrics,
}

impl<H: BatchHandler> Clone for Batcher<H> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), pace: self.pace.clone(), metrics: self.metrics.clone() }
    }
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// More requests wait than can be handled before the deadline: the request was rejected on arrival.
    Overloaded,
    /// The request was not started and never will be: the deadline passed first, or would have passed in the call.
    NotStarted,
    /// Its batch was in flight at the deadline: it may have taken effect, or may still do so.
    OutcomeUnknown,
}

struct Pending<H: BatchHandler> {
    request: H::Request,
    deadline: Instant,
    reply: oneshot::Sender<H::Answer>,
    /// Set once, by the dispatcher (the request is handled) or by the requester (it is not).
    decided: Arc<AtomicBool>,
    /// The span in which the request was submitted.
    span: Span,
    _waiting: GaugeGuard,
}

impl<H: BatchHandler> Batcher<H> {
    /// The longest queue, in requests. One more is rejected at once, so that an outage can't exhaust the memory.
    const MAX_WAITING: usize = 8192;

    /// Starts a task for the handlers, of which there must be at least one. It ends when the last handle is dropped.
    pub fn start(handlers: impl IntoIterator<Item = H>, metrics: BatchMetrics) -> Self {
        let (queue, pending) = mpsc::channel(Self::MAX_WAITING);
        let pace = Pace::default();
        spawn(dispatch(handlers.into_iter().collect(), pending, pace.clone(), metrics.clone()));
        Self { queue, pace, metrics }
    }

    /// Whether a request that arrives now may be handled in time. The next batch takes every request that it has room
    /// for: only when it starts is it known how long a call takes by then.
    fn has_time(&self, deadline: Instant) -> bool {
        let waiting = self.queue.max_capacity() - self.queue.capacity();
        waiting < H::MAX_BATCH
            || self
                .pace
                .earliest_deadline_behind(waiting / H::MAX_BATCH)
                .is_none_or(|earliest| earliest <= deadline)
    }

    /// Returns the handler's answer, if it arrives before the deadline.
    ///
    /// # Errors
    /// [`SubmitError`] says whether the request may have taken effect.
    pub async fn submit(&self, request: H::Request, deadline: Instant) -> Result<H::Answer, SubmitError> {
        if !self.has_time(deadline) {
            return Err(SubmitError::Overloaded);
        }
        let (reply, answer) = oneshot::channel();
        let decided = Arc::new(AtomicBool::new(false));
        let waiting = GaugeGuard::new(&self.metrics.waiting);
        let span = Span::current();
        let pending = Pending { request, deadline, reply, decided: decided.clone(), span, _waiting: waiting };
        self.queue.try_send(pending).map_err(|_| SubmitError::Overloaded)?;
        match time::timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) if decided.swap(true, Ordering::AcqRel) => Err(SubmitError::OutcomeUnknown),
            Ok(Err(_)) | Err(_) => Err(SubmitError::NotStarted),
        }
    }
}

/// The present length of a call, shared by the handlers of a batcher and its requesters.
#[derive(Clone, Default)]
struct Pace(Arc<Mutex<Calls>>);

#[derive(Default)]
struct Calls {
    /// Rises at once and falls slowly, so that a single fast call among slow ones does not mislead.
    present: Duration,
    /// The last ones, of which one slow call among fast ones does not raise the shortest.
    last: [Duration; 3],
    /// The start of the call that the next batch waits for; `None`: a handler is free.
    busy_since: Option<Instant>,
}

impl Pace {
    fn record(&self, length: Duration) {
        let mut calls = self.calls();
        calls.present = length.max(calls.present * 3 / 4);
        calls.last.rotate_right(1);
        calls.last[0] = length;
    }

    fn set_busy(&self, is_busy: bool) {
        let mut calls = self.calls();
        calls.busy_since = is_busy.then(|| calls.busy_since.unwrap_or_else(Instant::now));
    }

    /// The earliest deadline that a call which starts now meets.
    fn earliest_deadline(&self) -> Instant {
        Instant::now() + with_margin(self.calls().present)
    }

    /// The earliest deadline that a call meets behind the one in flight and this number of waiting ones; `None`: a
    /// handler is free.
    fn earliest_deadline_behind(&self, waiting: usize) -> Option<Instant> {
        let now = Instant::now();
        let (since, length) = {
            let calls = self.calls();
            (calls.busy_since?, calls.last.into_iter().min().unwrap_or_default())
        };
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        Some(now.max(since + length) + length * waiting + with_margin(length))
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The length of a call with a little to spare.
fn with_margin(length: Duration) -> Duration {
    length + length / 32
}

/// Gives batches to idle handlers. The one that was busy last comes first, so that no more connections than needed are
/// used; handlers that are not ready come last, the one that failed first before the others.
async fn dispatch<H: BatchHandler>(
    mut idle: Vec<H>,
    mut queue: mpsc::Receiver<Pending<H>>,
    pace: Pace,
    metrics: BatchMetrics,
) {
    let mut busy = FuturesUnordered::new();
    let mut in_flight = 0;
    loop {
        let mut batch = Vec::new();
        let is_ready = idle.last().is_some_and(|handler| handler.is_ready() || in_flight == 0);
        let is_free = is_ready && in_flight < H::PARALLEL_BELOW;
        pace.set_busy(!is_free);
        select! {
            biased;
            Some((handler, handled)) = busy.next() => {
                in_flight -= handled;
                let handler: H = handler;
                let place = if handler.is_ready() { idle.len() } else { 0 };
                idle.insert(place, handler);
            }
            received = queue.recv_many(&mut batch, H::MAX_BATCH), if is_free => {
                let Some(handler) = idle.pop().filter(|_| received > 0) else { break };
                in_flight += received;
                let (metrics, pace) = (metrics.clone(), pace.clone());
                busy.push(Either::Left(async move { (run(handler, batch, &metrics, &pace).await, received) }));
            }
        }
        for mut handler in idle.extract_if(.., |handler| handler.needs_maintenance()) {
            busy.push(Either::Right(async move {
                handler.maintain().await;
                (handler, 0)
            }));
        }
    }
    while busy.next().await.is_some() {}
}

/// Runs one batch and returns the handler.
async fn run<H: BatchHandler>(
    mut handler: H,
    mut batch: Vec<Pending<H>>,
    metrics: &BatchMetrics,
    pace: &Pace,
) -> H {
    if let Err(answer) = handler.prepare().await {
        // No request is marked as decided: one that was abandoned meanwhile has been told that it was not started.
        batch.into_iter().for_each(|pending| drop(pending.reply.send(answer.clone())));
        return handler;
    }
    let earliest = pace.earliest_deadline();
    if batch.iter().any(|pending| pending.deadline >= earliest) {
        // The others are told now that they were not started.
        batch.retain(|pending| pending.deadline >= earliest);
    }
    batch.retain(|pending| !pending.decided.swap(true, Ordering::AcqRel));
    let Some(until) = batch.iter().map(|pending| pending.deadline).max() else {
        return handler;
    };
    let span = handler.span(&batch[0].span);
    batch[1..].iter().for_each(|pending| {
        span.follows_from(&pending.span);
    });
    let (requests, replies): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|pending| (pending.request, pending.reply)).unzip();
    metrics.batch_size.observe(requests.len() as f64);
    let start = Instant::now();
    let answers = handler.handle(&requests, until).instrument(span).await;
    if handler.is_ready() {
        pace.record(start.elapsed());
    }
    debug_assert_eq!(answers.len(), requests.len());
    for (reply, answer) in replies.into_iter().zip(answers) {
        // The requester may have given up; it has been told so.
        let _ = reply.send(answer);
    }
    handler
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use std::time::Duration;

    use super::*;

    type Handled = Arc<Mutex<Vec<Vec<u32>>>>;

    /// Holds each batch until a permit arrives, then answers with its size.
    struct Held<const MAX: usize> {
        permits: mpsc::Receiver<()>,
        handled: Handled,
    }

    impl<const MAX: usize> BatchHandler for Held<MAX> {
        type Request = u32;
        type Answer = usize;
        const MAX_BATCH: usize = MAX;
        const PARALLEL_BELOW: usize = 24;

        async fn handle(&mut self, batch: &[u32], _until: Instant) -> Vec<usize> {
            self.permits.recv().await;
            self.handled.lock().unwrap().push(batch.to_vec());
            vec![batch.len(); batch.len()]
        }
    }

    fn held() -> (Batcher<Held<3>>, mpsc::Sender<()>, Handled) {
        let (permit, permits) = mpsc::channel(10);
        let handled = Handled::default();
        (
            Batcher::start([Held { permits, handled: handled.clone() }], BatchMetrics::default()),
            permit,
            handled,
        )
    }

    fn after(millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis)
    }

    /// Lets every task run until it waits: the clock of these tests moves only when all of them do.
    async fn settle() {
        time::sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_arrive_meanwhile_form_the_next_bounded_batch() {
        let (batcher, permit, handled) = held();
        let submit = |n| {
            let batcher = batcher.clone();
            spawn(async move { batcher.submit(n, after(5000)).await })
        };
        let first = submit(0);
        settle().await;
        let rest: Vec<_> = (1..=4).map(submit).collect();
        settle().await;
        for _ in 0..3 {
            permit.send(()).await.unwrap();
        }
        assert_eq!(first.await.unwrap(), Ok(1));
        for task in rest {
            assert!(task.await.unwrap().is_ok());
        }
        assert_eq!(handled.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [1, 3, 1]);
    }

    /// Whether a second handler takes a request while the first one has a batch of this size in flight.
    async fn runs_in_parallel_with(size: usize) -> bool {
        let (_wait, never) = mpsc::channel(1);
        let (permit, permits) = mpsc::channel(1);
        let [first, second] =
            [never, permits].map(|permits| Held::<100> { permits, handled: Handled::default() });
        // The last idle handler is the first to be used.
        let batcher = Batcher::start([second, first], BatchMetrics::default());
        for _ in 0..size {
            let batcher = batcher.clone();
            spawn(async move { batcher.submit(0, after(5000)).await });
        }
        settle().await;
        permit.send(()).await.unwrap();
        batcher.submit(0, after(100)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_starts_in_parallel_with_a_small_one_but_not_with_a_large_one() {
        assert!(runs_in_parallel_with(Held::<100>::PARALLEL_BELOW - 1).await);
        assert!(!runs_in_parallel_with(Held::<100>::PARALLEL_BELOW).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_abandoned_in_the_queue_is_never_handled() {
        let (batcher, permit, handled) = held();
        let running = spawn({
            let batcher = batcher.clone();
            async move { batcher.submit(1, after(50)).await }
        });
        settle().await;
        assert_eq!(batcher.submit(2, after(50)).await, Err(SubmitError::NotStarted));
        assert_eq!(running.await.unwrap(), Err(SubmitError::OutcomeUnknown));
        let last = spawn(async move { batcher.submit(3, after(5000)).await });
        permit.send(()).await.unwrap();
        permit.send(()).await.unwrap();
        assert_eq!(last.await.unwrap(), Ok(1));
        assert_eq!(*handled.lock().unwrap(), [vec![1], vec![3]]);
    }

    /// Prepares when a permit arrives, and records what it handles.
    struct Slow {
        permits: mpsc::Receiver<()>,
        handled: Arc<Mutex<Vec<u32>>>,
    }

    impl BatchHandler for Slow {
        type Request = u32;
        type Answer = Result<(), &'static str>;
        const MAX_BATCH: usize = 3;

        async fn prepare(&mut self) -> Result<(), Self::Answer> {
            self.permits.recv().await.ok_or(Err("never ready"))
        }

        async fn handle(&mut self, batch: &[u32], _until: Instant) -> Vec<Self::Answer> {
            self.handled.lock().unwrap().extend(batch);
            vec![Ok(()); batch.len()]
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_abandoned_during_preparation_is_never_handled() {
        let (permit, permits) = mpsc::channel(10);
        let handled = Arc::default();
        let batcher =
            Batcher::start([Slow { permits, handled: Arc::clone(&handled) }], BatchMetrics::default());
        assert_eq!(batcher.submit(1, after(30)).await, Err(SubmitError::NotStarted));
        permit.send(()).await.unwrap();
        permit.send(()).await.unwrap();
        assert_eq!(batcher.submit(2, after(5000)).await, Ok(Ok(())));
        assert_eq!(*handled.lock().unwrap(), [2]);
        drop(permit);
        assert_eq!(batcher.submit(3, after(5000)).await, Ok(Err("never ready")));
    }

    /// Takes this long for each batch, and answers whether it was in time.
    struct Takes(Duration);

    impl BatchHandler for Takes {
        type Request = ();
        type Answer = bool;
        const MAX_BATCH: usize = 1000;

        async fn handle(&mut self, batch: &[()], until: Instant) -> Vec<bool> {
            let end = Instant::now() + self.0;
            time::sleep_until(until.min(end)).await;
            vec![end <= until; batch.len()]
        }
    }

    /// The results of a request every 10 ms for 20 s, each with 3 s until its deadline, on a backend that takes this long
    /// for a call: the share that was answered, and whether any of the others has an unknown outcome.
    async fn crowd(length: Duration) -> (f64, bool) {
        let batcher = Batcher::start([Takes(length)], BatchMetrics::default());
        let mut requests = Vec::new();
        for _ in 0..2000 {
            let batcher = batcher.clone();
            requests.push(spawn(async move { batcher.submit((), after(3000)).await }));
            time::sleep(Duration::from_millis(10)).await;
        }
        let (mut answered, mut is_unknown) = (0.0, false);
        for request in requests {
            match request.await.unwrap() {
                Ok(true) => answered += 1.0,
                Ok(false) => {}
                Err(error) => is_unknown |= error == SubmitError::OutcomeUnknown,
            }
        }
        (answered / 2000.0, is_unknown)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_backend_serves_every_request_while_two_calls_fit_into_the_deadline() {
        for millis in [10, 300, 800, 1300, 1450] {
            assert_eq!(crowd(Duration::from_millis(millis)).await, (1.0, false), "{millis}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slower_backend_serves_fewer_requests_in_proportion() {
        // Those that arrive too early in a call of this length can't wait for it and for another one.
        for (millis, share) in [(1700, 0.5), (2000, 0.25), (2300, 0.03)] {
            let (answered, _) = crowd(Duration::from_millis(millis)).await;
            assert!(answered >= share, "{millis}: {answered}");
        }
    }

    /// Takes this long for each batch of at most ten.
    struct Few(Duration);

    impl BatchHandler for Few {
        type Request = ();
        type Answer = ();
        const MAX_BATCH: usize = 10;

        async fn handle(&mut self, batch: &[()], _until: Instant) -> Vec<()> {
            time::sleep(self.0).await;
            vec![(); batch.len()]
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_beyond_the_capacity_are_rejected_on_arrival_and_no_others() {
        let batcher = Batcher::start([Few(Duration::from_millis(500))], BatchMetrics::default());
        // Without calls in the past, nothing is known to be too late.
        let submit = || {
            let batcher = batcher.clone();
            spawn(async move {
                let start = Instant::now();
                (batcher.submit((), after(3000)).await, start.elapsed())
            })
        };
        for _ in 0..3 {
            assert!(submit().await.unwrap().0.is_ok());
        }
        // 20 a second are answered, 100 a second arrive.
        let mut requests = Vec::new();
        for _ in 0..2000 {
            requests.push(submit());
            time::sleep(Duration::from_millis(10)).await;
        }
        let mut answered = 0;
        for request in requests {
            match request.await.unwrap() {
                (Ok(()), time) => {
                    answered += 1;
                    assert!(time <= Duration::from_secs(3), "{time:?}");
                }
                (Err(error), time) => assert!(
                    error == SubmitError::Overloaded && time < Duration::from_millis(10),
                    "{error:?} after {time:?}"
                ),
            }
        }
        // 20 s and the 3 s that requests may wait.
        assert!(answered >= 430, "{answered}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_slow_call_rejects_no_request() {
        let (batcher, permit, _) = held();
        let submit = || {
            let batcher = batcher.clone();
            spawn(async move { batcher.submit(0, after(3000)).await })
        };
        for millis in [1, 1, 1, 2500] {
            let request = submit();
            time::sleep(Duration::from_millis(millis)).await;
            permit.send(()).await.unwrap();
            assert!(request.await.unwrap().is_ok());
        }
        let running = submit();
        settle().await;
        let waiting = submit();
        settle().await;
        for request in [running, waiting] {
            permit.send(()).await.unwrap();
            assert!(request.await.unwrap().is_ok());
        }
    }

    /// Fails always or never, and is ready unless its last batch failed.
    struct Fragile {
        name: &'static str,
        fails: bool,
        has_failed: bool,
    }

    impl BatchHandler for Fragile {
        type Request = ();
        type Answer = Result<&'static str, &'static str>;
        const MAX_BATCH: usize = 10;

        fn is_ready(&self) -> bool {
            !self.has_failed
        }

        async fn handle(&mut self, batch: &[()], _until: Instant) -> Vec<Self::Answer> {
            self.has_failed = self.fails;
            vec![if self.fails { Err(self.name) } else { Ok(self.name) }; batch.len()]
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_handler_does_not_starve_a_healthy_one() {
        let handler = |name, fails| Fragile { name, fails, has_failed: false };
        let batcher =
            Batcher::start([handler("healthy", false), handler("broken", true)], BatchMetrics::default());
        assert_eq!(batcher.submit((), after(100)).await, Ok(Err("broken")));
        for _ in 0..3 {
            assert_eq!(batcher.submit((), after(100)).await, Ok(Ok("healthy")));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failed_handlers_are_tried_in_turn() {
        let handler = |name| Fragile { name, fails: true, has_failed: false };
        let batcher = Batcher::start([handler("a"), handler("b")], BatchMetrics::default());
        let mut tried = Vec::new();
        for _ in 0..4 {
            tried.push(batcher.submit((), after(100)).await.unwrap().unwrap_err());
        }
        assert_eq!(tried, ["b", "a", "b", "a"]);
    }

    /// Needs maintenance after its first batch, and not after the next ones.
    struct Maintained {
        name: &'static str,
        batches: usize,
        permits: mpsc::Receiver<()>,
    }

    impl BatchHandler for Maintained {
        type Request = ();
        type Answer = &'static str;
        const MAX_BATCH: usize = 1;

        fn needs_maintenance(&self) -> bool {
            self.batches == 1
        }

        async fn maintain(&mut self) {
            self.permits.recv().await;
            self.batches += 1;
        }

        async fn handle(&mut self, _batch: &[()], _until: Instant) -> Vec<&'static str> {
            self.batches += 1;
            vec![self.name]
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_is_maintained_while_another_one_takes_the_batches() {
        let (permit, permits) = mpsc::channel(1);
        let (_other, no_permits) = mpsc::channel(1);
        let maintained = Maintained { name: "maintained", batches: 0, permits };
        let other = Maintained { name: "other", batches: 2, permits: no_permits };
        let batcher = Batcher::start([other, maintained], BatchMetrics::default());
        let submit = async || batcher.submit((), after(100)).await;
        assert_eq!(submit().await, Ok("maintained"));
        assert_eq!((submit().await, submit().await), (Ok("other"), Ok("other")));
        permit.send(()).await.unwrap();
        settle().await;
        assert_eq!(submit().await, Ok("maintained"));
    }

    /// Opens by maintenance or with its first batch, and answers when a permit arrives.
    struct Opened {
        name: &'static str,
        is_open: bool,
        openings: mpsc::Receiver<()>,
        permits: mpsc::Receiver<()>,
    }

    impl BatchHandler for Opened {
        type Request = ();
        type Answer = &'static str;
        const MAX_BATCH: usize = 1;
        const PARALLEL_BELOW: usize = 10;

        fn is_ready(&self) -> bool {
            self.is_open
        }

        fn needs_maintenance(&self) -> bool {
            !self.is_open
        }

        async fn maintain(&mut self) {
            self.openings.recv().await;
            self.is_open = true;
        }

        async fn handle(&mut self, _batch: &[()], _until: Instant) -> Vec<&'static str> {
            self.is_open = true;
            self.permits.recv().await;
            vec![self.name]
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_is_not_ready_takes_no_request_while_another_one_is_busy() {
        let opened = |name| {
            let ((opening, openings), (permit, permits)) = (mpsc::channel(10), mpsc::channel(10));
            (Opened { name, is_open: false, openings, permits }, opening, permit)
        };
        let (first, _opening, permit_first) = opened("first");
        let (second, open_second, permit_second) = opened("second");
        let batcher = Batcher::start([second, first], BatchMetrics::default());
        let submit = || {
            let batcher = batcher.clone();
            spawn(async move { batcher.submit((), after(5000)).await })
        };
        permit_second.send(()).await.unwrap();
        let (one, two) = (submit(), submit());
        settle().await;
        permit_first.send(()).await.unwrap();
        permit_first.send(()).await.unwrap();
        assert_eq!((one.await.unwrap(), two.await.unwrap()), (Ok("first"), Ok("first")));
        open_second.send(()).await.unwrap();
        settle().await;
        assert_eq!(submit().await.unwrap(), Ok("second"));
    }
}
