//! Live results: one read per second for all viewers of a pod, none without viewers.

use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::analytics::{AnalyticsClient, Results};

const READ_INTERVAL: Duration = Duration::from_secs(1);

/// The results as they change.
pub struct LiveResults {
    reads: Arc<watch::Sender<Read>>,
    places: Arc<Semaphore>,
}

/// The most recent read.
#[derive(Clone)]
struct Read {
    started: Instant,
    /// `None` if the results are unavailable.
    results: Option<Arc<Results>>,
}

impl LiveResults {
    /// Starts the reading task, which ends when this is dropped.
    pub fn start(analytics: AnalyticsClient, max_viewers: usize) -> Self {
        let reads = Arc::new(watch::Sender::new(Read { started: Instant::now(), results: None }));
        tokio::spawn(read(Arc::downgrade(&reads), analytics));
        Self { reads, places: Arc::new(Semaphore::new(max_viewers)) }
    }

    /// Adds a viewer; `None` if there are as many as allowed.
    pub fn watch(&self) -> Option<Viewer> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        Some(Viewer { reads: self.reads.subscribe(), since: Instant::now(), seen: None, _place: place })
    }
}

/// A client that follows the results.
pub struct Viewer {
    reads: watch::Receiver<Read>,
    since: Instant,
    seen: Option<Option<Arc<Results>>>,
    _place: OwnedSemaphorePermit,
}

impl Viewer {
    /// Waits for a change: `Some(None)` if the results became unavailable, `None` after [`LiveResults`] was dropped.
    ///
    /// Skips reads that started before this viewer came: they could lack a vote that the viewer's page already shows.
    pub async fn change(&mut self) -> Option<Option<Arc<Results>>> {
        loop {
            self.reads.changed().await.ok()?;
            let Read { started, results } = self.reads.borrow_and_update().clone();
            if started >= self.since && self.seen.as_ref() != Some(&results) {
                self.seen = Some(results.clone());
                return Some(results);
            }
        }
    }
}

async fn read(sender: Weak<watch::Sender<Read>>, analytics: AnalyticsClient) {
    let mut ticks = interval(READ_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(sender) = sender.upgrade() else { return };
        if sender.receiver_count() > 0 {
            let started = Instant::now();
            let results = analytics.results(&HeaderMap::new()).await;
            sender.send_replace(Read { started, results });
        }
    }
}
