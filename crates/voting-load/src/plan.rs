//! The parameters of a load, and its progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::LoadMetrics;
use crate::pace::Pace;
use crate::picture::Picture;

/// The parameters of a load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// URL of the page without a trailing slash.
    pub url: String,
    /// How voters vote.
    pub voting: Voting,
    /// Number of concurrent voters.
    pub voters: usize,
    /// Number of ballots.
    pub ballots: u64,
    /// Time after which the load ends.
    pub duration: Option<Duration>,
    /// Ballots per second, whatever the answers take, as far as there are voters without a ballot in flight; `None` is as
    /// fast as the answers allow. [`Progress::pace`] changes it.
    pub rate: Option<u32>,
    /// Delay between two ballots of a voter without a rate.
    pub pause: Duration,
    /// Whether voters retry ballots that were not accepted, as a browser or a mesh would.
    pub retry: bool,
    /// Time limit of the retries of a ballot.
    pub patience: Duration,
    /// Whether every fourth ballot has one attempt only: acceptance after a refusal does not show whether the refusal was
    /// true.
    pub leave_some: bool,
    /// How long the results are watched before the load and after it, so that votes of others are noticed.
    pub watch: Duration,
    /// Whether the ballots are audited in the end, and kept until then.
    pub is_audited: bool,
}

/// How voters vote.
#[derive(Clone, Debug)]
pub enum Voting {
    /// Each voter is a browser with cookies and connections of its own. It reads the page, sends the page's form with the
    /// page's ballot, and follows the redirect to the page, which must show the vote.
    Browsers {
        /// Number of voters with the feature flag.
        flagged: usize,
        /// A cookie of all voters, besides those of the page: `NAME=VALUE`.
        cookie: Option<String>,
    },
    /// Voters send forms with ballots of their own, and read the results after every fifth.
    Forms(Forms),
}

/// The voters of [`Voting::Forms`].
#[derive(Clone, Debug)]
pub struct Forms {
    /// Names of the choices.
    pub choices: [String; 2],
    /// URL of voting-analytics without a trailing slash; `None` reads the results from the page.
    pub analytics_url: Option<String>,
    /// Cookies of the voters.
    pub cookies: Option<String>,
    /// Whether a voter keeps connections, as a browser does.
    pub keeps_connections: bool,
}

impl Default for Forms {
    /// Voters of the default poll.
    fn default() -> Self {
        Self {
            choices: ["Cats".to_owned(), "Dogs".to_owned()],
            analytics_url: None,
            cookies: None,
            keeps_connections: true,
        }
    }
}

/// Time limit of the retries of a ballot, and of the results.
pub const PATIENCE: Duration = Duration::from_secs(60);

impl Plan {
    /// Voters at this URL, who retry until the load is stopped.
    pub fn until_stopped(url: impl Into<String>, voting: Voting, voters: usize, pause: Duration) -> Self {
        Self {
            url: url.into(),
            voting,
            voters,
            ballots: u64::MAX,
            duration: None,
            rate: None,
            pause,
            retry: true,
            patience: PATIENCE,
            leave_some: false,
            watch: Duration::ZERO,
            is_audited: true,
        }
    }
}

/// The progress of a load; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stop: CancellationToken,
    begun: AtomicU64,
    cast: AtomicU64,
    audited: AtomicU64,
    metrics: LoadMetrics,
    pace: Pace,
    picture: Picture,
}

/// The turn of a voter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    /// To view the page.
    View,
    /// To cast a ballot.
    Ballot {
        number: u64,
        /// When a load with a rate begins the ballot.
        due: Option<Instant>,
    },
}

impl Progress {
    /// Number of ballots whose outcome is final.
    pub fn cast(&self) -> u64 {
        self.0.cast.load(Ordering::Relaxed)
    }

    /// Number of ballots audited.
    pub fn audited(&self) -> u64 {
        self.0.audited.load(Ordering::Relaxed)
    }

    /// The metrics of the load.
    pub fn metrics(&self) -> &LoadMetrics {
        &self.0.metrics
    }

    /// The pace of the load, which may change at any time.
    pub fn pace(&self) -> &Pace {
        &self.0.pace
    }

    /// Where the requests of the load go.
    pub fn picture(&self) -> &Picture {
        &self.0.picture
    }

    /// Whether all ballots are cast, or no more will be.
    pub fn is_over(&self) -> bool {
        self.is_stopped() || self.0.pace.has_ended()
    }

    /// Ends the load; the audit follows.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    /// Ends when the load is stopped.
    pub(crate) async fn stopped(&self) {
        self.0.stop.cancelled().await;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.stop.is_cancelled()
    }

    /// Waits for a voter's turn; `None` at the end of the load.
    pub(crate) async fn turn(&self, plan: &Plan) -> Option<Turn> {
        if self.is_stopped() {
            return None;
        }
        let due = tokio::select! {
            () = self.0.stop.cancelled() => return None,
            due = self.0.pace.turn() => due?,
        };
        if self.0.pace.views_only() {
            return Some(Turn::View);
        }
        let number = self.0.begun.fetch_add(1, Ordering::Relaxed);
        if number + 1 >= plan.ballots {
            // The other voters need not wait for their turns.
            self.0.pace.end();
        }
        (number < plan.ballots).then_some(Turn::Ballot { number, due })
    }

    /// Waits; false if the load was stopped meanwhile.
    pub(crate) async fn sleep(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.0.stop.cancelled() => false,
            () = tokio::time::sleep(time) => true,
        }
    }

    pub(crate) fn count_cast(&self) {
        self.0.cast.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_audited(&self) {
        self.0.audited.fetch_add(1, Ordering::Relaxed);
    }
}
