//! Concurrent requests served as one group.
//!
//! A [`Lane`] has one worker or several. While one serves a group, the requests that arrive form the next: no timer,
//! and a bounded group, so a lone request waits for nobody and a crowd shares one transaction or one read. The next
//! group goes to another worker at once if only few are being served, because then the wait counts, and else waits for
//! its turn, because then the work counts, of which a large group makes less. What a worker reads is never older than
//! any request of its group.
//!
//! A requester that gives up while it still waits for its group is taken out: it is never served later. One that
//! gives up while its group is being served is told that the outcome is open ([`Abandoned::Running`]).

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::metrics::{Counted, LaneMetrics};

/// What serves the groups of a lane.
pub trait Worker: Send + 'static {
    /// What is asked.
    type Request: Send + Sync + 'static;
    /// What is answered.
    type Answer: Clone + Send + 'static;
    /// The most requests in a group.
    const MAX_GROUP: usize;

    /// Gets ready to serve, with a connection for instance, before it is settled who is in the group: one that gives
    /// up meanwhile is not served. An `Err` is the answer to all who wait.
    fn prepare(&mut self) -> impl Future<Output = Result<(), Self::Answer>> + Send {
        std::future::ready(Ok(()))
    }

    /// The span of a call, for traces: a child of that in which the first of the group was asked. Those of the others
    /// are linked to it.
    fn span(&self, _parent: &Span) -> Span {
        Span::none()
    }

    /// Serves a group (at least one request): one answer for each, in order. What it does must not have an effect
    /// after `until`, when the first of the group gives up, as far as that can be had.
    fn serve(
        &mut self,
        group: &[Self::Request],
        until: Instant,
    ) -> impl Future<Output = Vec<Self::Answer>> + Send;
}

/// As long as fewer requests than these are being served, another group may be. Measured with Redis, whose answer takes
/// the longer for being written to the disk: with 32 voters at a time two groups are faster, with 256 one large group is
/// (`docs/benchmarks.md`).
const FEW: usize = 24;

/// A handle to workers; clones share them.
pub struct Lane<W: Worker> {
    queue: mpsc::Sender<Job<W>>,
    metrics: LaneMetrics,
}

impl<W: Worker> Clone for Lane<W> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), metrics: self.metrics.clone() }
    }
}

/// Why a request was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// It was not started, and never will be: the queue was full, or the deadline came first.
    Waiting,
    /// Its group was being served at the deadline: it may have had its effect, or may still have.
    Running,
}

struct Job<W: Worker> {
    request: W::Request,
    deadline: Instant,
    reply: oneshot::Sender<W::Answer>,
    /// Whoever sets it first decides: the worker, that the request is served; the requester, that it is not.
    decided: Arc<AtomicBool>,
    /// In what it was asked.
    span: Span,
    _waiting: Counted,
}

impl<W: Worker> Lane<W> {
    /// Requests that may wait; one more is turned away at once, so that an outage can't fill the memory.
    const MAX_WAITING: usize = 8192;

    /// Starts a task for the workers, of which there is at least one. It ends when the last handle is gone.
    pub fn start(workers: impl IntoIterator<Item = W>, metrics: LaneMetrics) -> Self {
        let (queue, jobs) = mpsc::channel(Self::MAX_WAITING);
        tokio::spawn(run(workers.into_iter().collect(), jobs, metrics.clone()));
        Self { queue, metrics }
    }

    /// The worker's answer, if it comes before the deadline.
    ///
    /// # Errors
    /// [`Abandoned`] tells whether the request may have had an effect.
    pub async fn ask(&self, request: W::Request, deadline: Instant) -> Result<W::Answer, Abandoned> {
        let (reply, answer) = oneshot::channel();
        let decided = Arc::new(AtomicBool::new(false));
        let waiting = Counted::new(&self.metrics.waiting);
        let span = Span::current();
        let job = Job { request, deadline, reply, decided: decided.clone(), span, _waiting: waiting };
        self.queue.try_send(job).map_err(|_| Abandoned::Waiting)?;
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) if decided.swap(true, Ordering::AcqRel) => Err(Abandoned::Running),
            Ok(Err(_)) | Err(_) => Err(Abandoned::Waiting),
        }
    }
}

/// Gives groups to idle workers; to the one that was busy last, so that no more connections than needed are used.
async fn run<W: Worker>(mut idle: Vec<W>, mut queue: mpsc::Receiver<Job<W>>, metrics: LaneMetrics) {
    let mut groups = FuturesUnordered::new();
    let mut being_served = 0;
    loop {
        let mut jobs = Vec::new();
        tokio::select! {
            biased;
            Some((worker, served)) = groups.next() => {
                idle.push(worker);
                being_served -= served;
            }
            received = queue.recv_many(&mut jobs, W::MAX_GROUP), if !idle.is_empty() && being_served < FEW => {
                let Some(worker) = idle.pop().filter(|_| received > 0) else { break };
                being_served += received;
                let metrics = metrics.clone();
                groups.push(async move { (serve(worker, jobs, &metrics).await, received) });
            }
        }
    }
    while groups.next().await.is_some() {}
}

/// Serves a group; gives the worker back.
async fn serve<W: Worker>(mut worker: W, mut jobs: Vec<Job<W>>, metrics: &LaneMetrics) -> W {
    if let Err(answer) = worker.prepare().await {
        // Nobody is decided on: who gave up meanwhile was not served, and is not told that it may have been.
        jobs.into_iter().for_each(|job| drop(job.reply.send(answer.clone())));
        return worker;
    }
    jobs.retain(|job| !job.decided.swap(true, Ordering::AcqRel));
    let Some(until) = jobs.iter().map(|job| job.deadline).min() else {
        return worker;
    };
    let span = worker.span(&jobs[0].span);
    jobs[1..].iter().for_each(|job| {
        span.follows_from(&job.span);
    });
    let (group, replies): (Vec<_>, Vec<_>) = jobs.into_iter().map(|job| (job.request, job.reply)).unzip();
    metrics.group_size.observe(group.len() as f64);
    let answers = worker.serve(&group, until).instrument(span).await;
    debug_assert_eq!(answers.len(), group.len());
    for (reply, answer) in replies.into_iter().zip(answers) {
        // A requester that gave up has been told so; its answer is of no use.
        let _ = reply.send(answer);
    }
    worker
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Answers with the size of the group, after being told to go on.
    struct Held<const MAX: usize> {
        go_on: mpsc::Receiver<()>,
        served: Arc<std::sync::Mutex<Vec<Vec<u32>>>>,
    }

    impl<const MAX: usize> Worker for Held<MAX> {
        type Request = u32;
        type Answer = usize;
        const MAX_GROUP: usize = MAX;

        async fn serve(&mut self, group: &[u32], _until: Instant) -> Vec<usize> {
            self.go_on.recv().await;
            self.served.lock().unwrap().push(group.to_vec());
            vec![group.len(); group.len()]
        }
    }

    type Served = Arc<std::sync::Mutex<Vec<Vec<u32>>>>;

    fn held() -> (Lane<Held<3>>, mpsc::Sender<()>, Served) {
        let (go, go_on) = mpsc::channel(10);
        let served = Served::default();
        (Lane::start([Held { go_on, served: served.clone() }], LaneMetrics::default()), go, served)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn what_arrives_meanwhile_forms_the_next_bounded_group() {
        let (lane, go, served) = held();
        let ask = |n| {
            let lane = lane.clone();
            tokio::spawn(async move { lane.ask(n, soon()).await })
        };
        let first = ask(0);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let rest: Vec<_> = (1..=4).map(ask).collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        for _ in 0..3 {
            go.send(()).await.unwrap();
        }
        assert_eq!(first.await.unwrap(), Ok(1));
        for task in rest {
            assert!(task.await.unwrap().is_ok());
        }
        assert_eq!(served.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [1, 3, 1]);
    }

    /// Whether a request is served by a second worker while the first serves a group of this size.
    async fn is_served_beside(size: usize) -> bool {
        let (_wait, never) = mpsc::channel(1);
        let (go, go_on) = mpsc::channel(1);
        let [first, second] = [never, go_on].map(|go_on| Held::<100> { go_on, served: Served::default() });
        // The last of those that were never busy is the first that is asked.
        let lane = Lane::start([second, first], LaneMetrics::default());
        for _ in 0..size {
            let lane = lane.clone();
            tokio::spawn(async move { lane.ask(0, soon()).await });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        go.send(()).await.unwrap();
        lane.ask(0, Instant::now() + Duration::from_millis(100)).await.is_ok()
    }

    #[tokio::test]
    async fn a_group_is_served_beside_a_small_one_but_not_beside_a_large_one() {
        assert!(is_served_beside(FEW - 1).await);
        assert!(!is_served_beside(FEW).await);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_never_served() {
        let (lane, go, served) = held();
        let running = tokio::spawn({
            let lane = lane.clone();
            async move { lane.ask(1, Instant::now() + Duration::from_millis(50)).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        let waiting = lane.ask(2, Instant::now() + Duration::from_millis(50)).await;
        assert_eq!(waiting, Err(Abandoned::Waiting));
        assert_eq!(running.await.unwrap(), Err(Abandoned::Running));
        let last = tokio::spawn(async move { lane.ask(3, soon()).await });
        go.send(()).await.unwrap();
        go.send(()).await.unwrap();
        assert_eq!(last.await.unwrap(), Ok(1));
        assert_eq!(*served.lock().unwrap(), [vec![1], vec![3]]);
    }

    /// Is ready after being told to go on, and counts what it serves.
    struct Slow {
        go_on: mpsc::Receiver<()>,
        served: Arc<std::sync::Mutex<Vec<u32>>>,
    }

    impl Worker for Slow {
        type Request = u32;
        type Answer = Result<(), &'static str>;
        const MAX_GROUP: usize = 3;

        async fn prepare(&mut self) -> Result<(), Self::Answer> {
            self.go_on.recv().await.ok_or(Err("never ready"))
        }

        async fn serve(&mut self, group: &[u32], _until: Instant) -> Vec<Self::Answer> {
            self.served.lock().unwrap().extend(group);
            vec![Ok(()); group.len()]
        }
    }

    #[tokio::test]
    async fn who_gives_up_before_the_worker_is_ready_is_never_served() {
        let (go, go_on) = mpsc::channel(10);
        let served = Arc::default();
        let lane = Lane::start([Slow { go_on, served: Arc::clone(&served) }], LaneMetrics::default());
        assert_eq!(lane.ask(1, Instant::now() + Duration::from_millis(30)).await, Err(Abandoned::Waiting));
        go.send(()).await.unwrap();
        go.send(()).await.unwrap();
        assert_eq!(lane.ask(2, soon()).await, Ok(Ok(())));
        assert_eq!(*served.lock().unwrap(), [2]);
        drop(go);
        assert_eq!(lane.ask(3, soon()).await, Ok(Err("never ready")));
    }
}
