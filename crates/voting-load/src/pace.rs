//! When voters take their turns: at a rate that may change, in bursts, or as fast as the answers allow.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The pace of a load; clones share it. At first as fast as the answers allow.
#[derive(Clone, Debug, Default)]
pub struct Pace(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Voters wait in a queue. Only the first one waits for its time, so that no other has to change it with the rate.
    queue: tokio::sync::Mutex<()>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Turns per second.
    rate: Option<u32>,
    /// Whether a rate was set, which then replaces that of the plan.
    is_set: bool,
    /// The time of the next turn at this rate; `None` is now.
    next: Option<Instant>,
    /// Turns to be taken at once.
    burst: u32,
    is_paused: bool,
    views_only: bool,
    has_ended: bool,
}

/// The time of a turn; `None` without a rate.
pub(crate) type Due = Option<Instant>;

/// Why there is no turn yet.
enum Wait {
    Until(Instant),
    ForChange,
    Forever,
}

/// Turns of bursts that wait for voters: what they can't take soon is not a burst.
const MOST_AT_ONCE: u32 = 200;

impl State {
    fn take(&mut self, now: Instant) -> Result<Due, Wait> {
        if self.has_ended {
            return Err(Wait::Forever);
        }
        match self.rate {
            _ if self.is_paused => Err(Wait::ForChange),
            None => Ok(None),
            Some(_) if self.burst > 0 => {
                self.burst -= 1;
                Ok(Some(now))
            }
            Some(0) => Err(Wait::ForChange),
            Some(rate) => {
                let due = self.next.unwrap_or(now);
                if due > now {
                    return Err(Wait::Until(due));
                }
                // The next turn doesn't wait for this one's answer, so a load that is late catches up.
                self.next = Some(due + Duration::from_secs(1) / rate);
                Ok(Some(due))
            }
        }
    }
}

impl Pace {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.changed.notify_waiters();
    }

    /// Sets the number of turns per second; 0 is a load at rest, `None` is as fast as the answers allow.
    pub fn set_rate(&self, rate: Option<u32>) {
        self.change(|state| {
            (state.rate, state.is_set, state.next) = (rate, true, None);
        });
    }

    /// The number of turns per second.
    pub fn rate(&self) -> Option<u32> {
        self.state().rate
    }

    /// Adds turns to be taken at once, as long as no more than [`MOST_AT_ONCE`] wait. A load without a rate has none to add.
    pub fn burst(&self, turns: u32) {
        self.change(|state| state.burst = state.burst.saturating_add(turns).min(MOST_AT_ONCE));
    }

    /// Whether a turn is a view of the page, without a vote.
    pub fn views_only(&self) -> bool {
        self.state().views_only
    }

    /// Has voters only view the page, or vote.
    pub fn set_views_only(&self, views_only: bool) {
        self.change(|state| state.views_only = views_only);
    }

    /// Stops all turns for a while, or continues them.
    pub fn set_paused(&self, is_paused: bool) {
        if self.state().is_paused == is_paused {
            return;
        }
        // What was missed is not caught up with.
        self.change(|state| (state.is_paused, state.next, state.burst) = (is_paused, None, 0));
    }

    /// Completes when the pace is not paused.
    pub async fn resumed(&self) {
        loop {
            let changed = self.0.changed.notified();
            if !self.state().is_paused {
                return;
            }
            changed.await;
        }
    }

    /// The load begins, at the rate of its plan unless another one was set.
    pub(crate) fn begin(&self, rate: Option<u32>) {
        self.change(|state| {
            if !state.is_set {
                state.rate = rate;
            }
            state.next = None;
        });
    }

    /// There are no turns any more.
    pub(crate) fn end(&self) {
        self.change(|state| state.has_ended = true);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state().has_ended
    }

    /// Waits for the next turn; `None` after the last one.
    pub(crate) async fn turn(&self) -> Option<Due> {
        let take = || self.state().take(Instant::now());
        // Without a rate, no voter has to wait for the others.
        if self.rate().is_none()
            && let Ok(due) = take()
        {
            return Some(due);
        }
        let _first = self.0.queue.lock().await;
        loop {
            // Before the look at the state, so that no change is missed.
            let changed = self.0.changed.notified();
            match take() {
                Ok(due) => return Some(due),
                Err(Wait::Forever) => return None,
                Err(Wait::ForChange) => changed.await,
                Err(Wait::Until(due)) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of turns that voters take within this time.
    async fn turns(pace: &Pace, time: Duration) -> usize {
        let mut turns = 0;
        let _ = tokio::time::timeout(time, async {
            while pace.turn().await.is_some() {
                turns += 1;
            }
        })
        .await;
        turns
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_may_change_while_a_voter_waits() {
        let pace = Pace::default();
        pace.set_rate(Some(1));
        assert_eq!(turns(&pace, Duration::from_millis(4500)).await, 5);
        pace.set_rate(Some(0));
        assert_eq!(turns(&pace, Duration::from_secs(60)).await, 0);
        let waiting = tokio::spawn({
            let pace = pace.clone();
            async move { turns(&pace, Duration::from_secs(10)).await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        pace.set_rate(Some(10));
        assert_eq!(waiting.await.unwrap(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_comes_at_once_and_the_rate_goes_on() {
        let pace = Pace::default();
        pace.set_rate(Some(0));
        pace.burst(50);
        assert_eq!(turns(&pace, Duration::from_secs(1)).await, 50);
        pace.set_rate(Some(2));
        pace.burst(7);
        assert_eq!(turns(&pace, Duration::from_millis(900)).await, 9);
        pace.set_rate(Some(0));
        (0..40).for_each(|_| pace.burst(50));
        assert_eq!(turns(&pace, Duration::from_secs(1)).await, MOST_AT_ONCE as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_load_takes_no_turn_and_catches_up_with_none() {
        let pace = Pace::default();
        pace.set_paused(true);
        assert_eq!(turns(&pace, Duration::from_secs(60)).await, 0);
        pace.set_rate(Some(10));
        assert_eq!(turns(&pace, Duration::from_secs(60)).await, 0);
        pace.set_paused(false);
        pace.resumed().await;
        assert_eq!(turns(&pace, Duration::from_millis(950)).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn every_voter_learns_of_the_end() {
        let pace = Pace::default();
        pace.begin(Some(1));
        let voters = [0; 5].map(|_| {
            let pace = pace.clone();
            tokio::spawn(async move { turns(&pace, Duration::from_secs(3600)).await })
        });
        tokio::time::sleep(Duration::from_millis(2500)).await;
        pace.end();
        let mut all = 0;
        for voter in voters {
            all += voter.await.unwrap();
        }
        assert_eq!(all, 3);
    }
}
