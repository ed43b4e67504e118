//! How long a call takes at present, and so which deadlines can still be met.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::runtime::time::Instant;

/// The present length of a call, shared by the handlers of a batcher and its requesters.
#[derive(Clone, Default)]
pub(crate) struct Pace(Arc<Mutex<Calls>>);

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
    pub(crate) fn record(&self, length: Duration) {
        let mut calls = self.calls();
        calls.present = length.max(calls.present * 3 / 4);
        calls.last.rotate_right(1);
        calls.last[0] = length;
    }

    pub(crate) fn set_busy(&self, is_busy: bool) {
        let mut calls = self.calls();
        calls.busy_since = is_busy.then(|| calls.busy_since.unwrap_or_else(Instant::now));
    }

    /// The earliest deadline that a call which starts now meets.
    pub(crate) fn earliest_deadline(&self) -> Instant {
        Instant::now() + with_margin(self.calls().present)
    }

    /// The earliest deadline that a call meets behind the one in flight and this number of waiting ones; `None`: a
    /// handler is free.
    pub(crate) fn earliest_deadline_behind(&self, waiting: usize) -> Option<Instant> {
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
