//! The results as they change: one read a second for all viewers of a pod, none while nobody looks.

use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::analytics::{AnalyticsClient, Results};

/// How often the results are read while somebody looks.
const EVERY: Duration = Duration::from_secs(1);

/// Where viewers get the changes from.
pub struct Live(Arc<watch::Sender<Read>>);

/// What was read last.
#[derive(Clone)]
struct Read {
    /// When the read began.
    began: Instant,
    /// The results; `None` if they are unavailable.
    results: Option<Arc<Results>>,
}

impl Live {
    /// Starts the task that reads, which ends with the `Live`.
    pub fn start(analytics: AnalyticsClient) -> Self {
        let sender = Arc::new(watch::Sender::new(Read { began: Instant::now(), results: None }));
        tokio::spawn(read(Arc::downgrade(&sender), analytics));
        Self(sender)
    }

    /// Somebody who looks from now on.
    pub fn watch(&self) -> Viewer {
        Viewer { reads: self.0.subscribe(), since: Instant::now(), seen: None }
    }
}

/// Somebody who looks.
pub struct Viewer {
    reads: watch::Receiver<Read>,
    since: Instant,
    seen: Option<Option<Arc<Results>>>,
}

impl Viewer {
    /// Waits for results that are new to this viewer; in them, `None` means that they are unavailable. `None` outside
    /// when the [`Live`] has ended.
    ///
    /// The first ones were read after the viewer came: older ones could lack a vote that the viewer's page shows.
    pub async fn change(&mut self) -> Option<Option<Arc<Results>>> {
        loop {
            self.reads.changed().await.ok()?;
            let Read { began, results } = self.reads.borrow_and_update().clone();
            if began >= self.since && self.seen.as_ref() != Some(&results) {
                self.seen = Some(results.clone());
                return Some(results);
            }
        }
    }
}

async fn read(sender: Weak<watch::Sender<Read>>, analytics: AnalyticsClient) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(sender) = sender.upgrade() else { return };
        if sender.receiver_count() > 0 {
            let began = Instant::now();
            let results = analytics.results(&HeaderMap::new()).await;
            sender.send_replace(Read { began, results });
        }
    }
}
