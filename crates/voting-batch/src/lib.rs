//! Request batching: concurrent requests that share one call.
//!
//! A [`Batcher`] has one [`BatchHandler`] or several. While one of them is busy, arriving requests queue up and form the
//! next batch: there is no timer, and a batch is bounded. A lone request is handled at once, and a crowd shares one
//! transaction or one read. With fewer requests in flight than [`BatchHandler::PARALLEL_BELOW`], the next batch starts
//! at once on an idle handler (latency wins). Otherwise it waits: larger batches cost less work per request. A read is
//! never older than any request of its batch.
//!
//! A request whose deadline passes while it queues is removed and never handled. So is one with too little time left for
//! a call of the present length, as long as others have enough: a slow backend then serves the requests that it can serve
//! in time, and the others are told early. A request that could not be served in time, because a whole batch or more waits
//! before it, is rejected on arrival. A request whose deadline passes while its batch is in flight ends
//! with [`SubmitError::OutcomeUnknown`]; the call goes on for the others.

#[cfg(test)]
#[cfg(feature = "shuttle")]
mod interleavings;
mod metrics;
mod pace;
mod runtime;
#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tracing::{Instrument as _, Span};

use pace::Pace;
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

/// The work of a busy handler.
enum Work<H: BatchHandler> {
    Prepare(H, Vec<Pending<H>>),
    Call(H, Vec<Pending<H>>),
    Maintain(H),
}

/// A handler whose work is done.
enum Done<H: BatchHandler> {
    /// It has prepared for this batch, or failed to.
    Prepared(H, Vec<Pending<H>>, Result<(), H::Answer>),
    /// It is idle again, after a call for this number of requests.
    Idle(H, usize),
}

/// Gives batches to idle handlers. The one that was busy last comes first, so that no more connections than needed are
/// used; handlers that are not ready come last, the one that failed first before the others.
async fn dispatch<H: BatchHandler>(
    mut idle: Vec<H>,
    mut queue: mpsc::Receiver<Pending<H>>,
    pace: Pace,
    metrics: BatchMetrics,
) {
    let run = |work| run(work, &metrics, &pace);
    let mut busy = FuturesUnordered::new();
    let (mut in_flight, mut is_open) = (0, true);
    while is_open || !busy.is_empty() {
        let mut batch = Vec::new();
        let is_ready = idle.last().is_some_and(|handler| handler.is_ready() || in_flight == 0);
        let is_free = is_open && is_ready && in_flight < H::PARALLEL_BELOW;
        pace.set_busy(!is_free);
        select! {
            biased;
            Some(done) = busy.next() => match done {
                Done::Prepared(handler, batch, Ok(())) => {
                    in_flight -= batch.len();
                    let batch = close(batch, &mut queue, &pace);
                    in_flight += batch.len();
                    busy.push(run(Work::Call(handler, batch)));
                }
                Done::Prepared(handler, batch, Err(answer)) => {
                    in_flight -= batch.len();
                    // No request is marked as decided: one that was abandoned meanwhile has been told that it was not started.
                    batch.into_iter().for_each(|pending| drop(pending.reply.send(answer.clone())));
                    retire(&mut idle, handler);
                }
                Done::Idle(handler, handled) => {
                    in_flight -= handled;
                    retire(&mut idle, handler);
                }
            },
            received = queue.recv_many(&mut batch, H::MAX_BATCH), if is_free => {
                let Some(handler) = idle.pop().filter(|_| received > 0) else {
                    is_open = false;
                    continue;
                };
                in_flight += received;
                busy.push(run(Work::Prepare(handler, batch)));
            }
        }
        for handler in idle.extract_if(.., |handler| is_open && handler.needs_maintenance()) {
            busy.push(run(Work::Maintain(handler)));
        }
    }
}

fn retire<H: BatchHandler>(idle: &mut Vec<H>, handler: H) {
    let place = if handler.is_ready() { idle.len() } else { 0 };
    idle.insert(place, handler);
}

/// Decides which requests a call that starts now handles. Those that it can't serve in time make room for later ones, and
/// are told now that they were not started, unless all are late: then the call may turn out shorter than the last ones.
fn close<H: BatchHandler>(
    batch: Vec<Pending<H>>,
    queue: &mut mpsc::Receiver<Pending<H>>,
    pace: &Pace,
) -> Vec<Pending<H>> {
    let earliest = pace.earliest_deadline();
    let (mut closed, mut late): (Vec<_>, Vec<_>) =
        batch.into_iter().partition(|pending| pending.deadline >= earliest);
    while closed.len() < H::MAX_BATCH {
        match queue.try_recv() {
            Ok(pending) if pending.deadline >= earliest => closed.push(pending),
            Ok(pending) => late.push(pending),
            Err(_) => break,
        }
    }
    if closed.is_empty() {
        closed = late.split_off(late.len().saturating_sub(H::MAX_BATCH));
    }
    closed.retain(|pending| !pending.decided.swap(true, Ordering::AcqRel));
    closed
}

async fn run<H: BatchHandler>(work: Work<H>, metrics: &BatchMetrics, pace: &Pace) -> Done<H> {
    match work {
        Work::Prepare(mut handler, batch) => {
            let prepared = handler.prepare().await;
            Done::Prepared(handler, batch, prepared)
        }
        Work::Call(mut handler, batch) => {
            let size = batch.len();
            call(&mut handler, batch, metrics, pace).await;
            Done::Idle(handler, size)
        }
        Work::Maintain(mut handler) => {
            handler.maintain().await;
            Done::Idle(handler, 0)
        }
    }
}

/// Handles one batch, unless every request of it was abandoned.
async fn call<H: BatchHandler>(handler: &mut H, batch: Vec<Pending<H>>, metrics: &BatchMetrics, pace: &Pace) {
    let Some(until) = batch.iter().map(|pending| pending.deadline).max() else { return };
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
}
