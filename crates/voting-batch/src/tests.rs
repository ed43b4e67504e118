//! The rules of the batcher, with a clock that moves only when every task waits.

use std::sync::Mutex;
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
    (Batcher::start([Held { permits, handled: handled.clone() }], BatchMetrics::default()), permit, handled)
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
    let batcher = Batcher::start([Slow { permits, handled: Arc::clone(&handled) }], BatchMetrics::default());
    assert_eq!(batcher.submit(1, after(30)).await, Err(SubmitError::NotStarted));
    // A later one joins the batch.
    let later = spawn({
        let batcher = batcher.clone();
        async move { batcher.submit(2, after(5000)).await }
    });
    settle().await;
    permit.send(()).await.unwrap();
    assert_eq!(later.await.unwrap(), Ok(Ok(())));
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

/// Takes 800 ms for each batch of at most 50, twice as long to prepare, and must prepare again after a batch that could
/// not end in time, as a store does whose connection is then closed.
struct Distant {
    is_open: bool,
}

impl BatchHandler for Distant {
    type Request = ();
    type Answer = bool;
    const MAX_BATCH: usize = 50;

    fn is_ready(&self) -> bool {
        self.is_open
    }

    async fn prepare(&mut self) -> Result<(), bool> {
        if !self.is_open {
            time::sleep(Duration::from_millis(1600)).await;
            self.is_open = true;
        }
        Ok(())
    }

    async fn handle(&mut self, batch: &[()], until: Instant) -> Vec<bool> {
        let end = Instant::now() + Duration::from_millis(800);
        time::sleep_until(end).await;
        self.is_open = end <= until;
        vec![self.is_open; batch.len()]
    }
}

#[tokio::test(start_paused = true)]
async fn overload_costs_neither_the_connection_nor_the_rate() {
    for times in [2, 5, 20] {
        let batcher = Batcher::start([Distant { is_open: false }], BatchMetrics::default());
        let start = Instant::now();
        let mut requests = Vec::new();
        // The capacity is 62.5 a second.
        for number in 0..(times * 1250) {
            let batcher = batcher.clone();
            requests.push(spawn(async move {
                let start = Instant::now();
                (batcher.submit((), after(3000)).await, start.elapsed())
            }));
            time::sleep_until(start + Duration::from_secs(20) * (number + 1) / (times * 1250)).await;
        }
        let (mut answered, mut late) = (0, 0);
        for request in requests {
            match request.await.unwrap() {
                (Ok(true), _) => answered += 1,
                (Err(SubmitError::Overloaded), time) => assert!(time < Duration::from_millis(10)),
                _ => late += 1,
            }
        }
        // All but the first two seconds and a half, in which nothing is known of the calls.
        assert!(answered >= 1250 * 9 / 10 && late < 50 * 4 * times, "{times}: {answered}, {late} late");
    }
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
