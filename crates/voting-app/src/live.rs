//! The results as they change: one read a second for all viewers of a pod, none while nobody looks.

use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::analytics::{AnalyticsClient, Results};

/// How often the results are read while somebody looks.
const EVERY: Duration = Duration::from_secs(1);

/// Where viewers get the changes from.
pub struct Live(Arc<watch::Sender<Latest>>);

/// What was read last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Latest {
    /// Nothing since somebody looks.
    NotRead,
    /// No results.
    Unavailable,
    /// These results.
    Results(Arc<Results>),
}

impl Live {
    /// Starts the task that reads, which ends with the `Live`.
    pub fn start(analytics: AnalyticsClient) -> Self {
        let sender = Arc::new(watch::Sender::new(Latest::NotRead));
        tokio::spawn(read(Arc::downgrade(&sender), analytics));
        Self(sender)
    }

    /// A viewer: told of each change from now on.
    pub fn watch(&self) -> watch::Receiver<Latest> {
        self.0.subscribe()
    }
}

async fn read(sender: Weak<watch::Sender<Latest>>, analytics: AnalyticsClient) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(sender) = sender.upgrade() else { return };
        let latest = if sender.receiver_count() == 0 {
            Latest::NotRead
        } else {
            analytics.results(&HeaderMap::new()).await.map_or(Latest::Unavailable, Latest::Results)
        };
        sender.send_if_modified(|last| {
            let changed = *last != latest;
            *last = latest;
            changed
        });
    }
}
