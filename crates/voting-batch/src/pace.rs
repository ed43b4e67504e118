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
    /// The start of the call that the next batch waits for; `None`: a handler is free.
    busy_since: Option<Instant>,
}

impl Pace {
    pub(crate) fn record(&self, length: Duration) {
        let mut calls = self.calls();
        calls.present = length.max(calls.present * 3 / 4);
    }

    pub(crate) fn set_busy(&self, is_busy: bool) {
        let mut calls = self.calls();
        calls.busy_since = is_busy.then(|| calls.busy_since.unwrap_or_else(Instant::now));
    }

    /// The earliest deadline that a call which starts now meets, with a little to spare.
    pub(crate) fn earliest_deadline(&self) -> Instant {
        let present = self.calls().present;
        Instant::now() + present + present / 32
    }

    /// The earliest deadline that a call meets behind the one in flight and this number of waiting ones, even if they are a
    /// little longer than at present; `None`: a handler is free.
    pub(crate) fn earliest_deadline_behind(&self, waiting: usize) -> Option<Instant> {
        let calls = self.calls();
        let (since, length) = (calls.busy_since?, calls.present);
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        Some(Instant::now().max(since + length) + length.saturating_mul(waiting) + length + length / 4)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
