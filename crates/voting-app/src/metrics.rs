//! What voting-app counts and times beside its requests and its store.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use voting_batch::BatchMetrics;
use voting_core::{Cast, Choice, Choices};
use voting_storage::CALL_SECONDS;
use voting_storage::StoreError;

/// What became of a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Counted,
    /// Its ballot was stored before; nothing changed.
    AlreadyCounted,
    /// The store is away: it was not counted and never will be.
    Refused,
    /// The store did not confirm: the same ballot again settles it.
    Unconfirmed,
    /// Its client went away before the answer: it may be stored.
    Abandoned,
    /// It was no vote of this poll; nothing was counted.
    Invalid,
}

impl Outcome {
    /// What can become of a ballot: all but [`Self::Invalid`].
    const OF_BALLOTS: [Self; 5] =
        [Self::Counted, Self::AlreadyCounted, Self::Refused, Self::Unconfirmed, Self::Abandoned];

    /// As the value of a label.
    fn label(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Invalid => "invalid",
            other => other.header(),
        }
    }

    /// As the value of the header `x-vote-outcome`, for which it only matters that nothing was counted.
    pub fn header(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::AlreadyCounted => "already-counted",
            Self::Refused | Self::Invalid => "refused",
            Self::Unconfirmed | Self::Abandoned => "unconfirmed",
        }
    }
}

impl From<Cast> for Outcome {
    fn from(cast: Cast) -> Self {
        match cast {
            Cast::Counted => Self::Counted,
            Cast::AlreadyCounted => Self::AlreadyCounted,
        }
    }
}

impl From<&StoreError> for Outcome {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Unusable(_) => Self::Refused,
            StoreError::Unconfirmed(_) => Self::Unconfirmed,
        }
    }
}

/// The numbers; clones share them.
#[derive(Clone, Debug)]
pub struct AppMetrics {
    /// By choice and outcome, found once: to look them up by their labels for each vote takes as long as to count.
    votes: [[Counter; Outcome::OF_BALLOTS.len()]; 2],
    invalid: Counter,
    /// Browsers that follow the results as they change.
    pub viewers: Gauge,
    /// The calls of voting-analytics.
    pub analytics: AnalyticsMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VoteLabels {
    choice: String,
    outcome: &'static str,
}

impl AppMetrics {
    /// New numbers, readable in the registry. Every series is there from the start: one that appears with its first
    /// vote would seem not to have grown.
    pub fn register(choices: &Choices, registry: &mut Registry) -> Self {
        let votes = Family::<VoteLabels, Counter>::default();
        let counter = |choice: &str, outcome: Outcome| {
            votes.get_or_create_owned(&VoteLabels { choice: choice.to_owned(), outcome: outcome.label() })
        };
        let metrics = Self {
            votes: Choice::ALL.map(|choice| {
                let choice = choices.name(choice).as_str();
                Outcome::OF_BALLOTS.map(|outcome| counter(choice, outcome))
            }),
            invalid: counter("", Outcome::Invalid),
            viewers: Gauge::default(),
            analytics: AnalyticsMetrics::register(registry),
        };
        registry.register(
            "voting_votes",
            "Votes by choice (none for what is invalid) and by what became of them",
            votes,
        );
        registry.register("voting_viewers", "Browsers that follow the results live", metrics.viewers.clone());
        metrics
    }

    /// A vote that is on its way to the store.
    pub fn start_vote(&self, choice: Choice) -> VoteGuard<'_> {
        VoteGuard { metrics: self, choice, outcome: Outcome::Abandoned }
    }

    /// Counts what was no vote of this poll.
    pub fn count_invalid(&self) {
        self.invalid.inc();
    }
}

/// A vote that is counted when this is dropped: as [`Outcome::Abandoned`] if nobody has waited for its outcome, for it may
/// be stored all the same.
#[derive(Debug)]
pub struct VoteGuard<'a> {
    metrics: &'a AppMetrics,
    choice: Choice,
    outcome: Outcome,
}

impl VoteGuard<'_> {
    /// The store has said what became of it.
    pub fn record(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for VoteGuard<'_> {
    fn drop(&mut self) {
        let of_choice = &self.metrics.votes[self.choice.index()];
        let place = Outcome::OF_BALLOTS.iter().position(|outcome| *outcome == self.outcome);
        place.map_or(&self.metrics.invalid, |place| &of_choice[place]).inc();
    }
}

/// The calls of voting-analytics; clones share the numbers.
#[derive(Clone, Debug)]
pub struct AnalyticsMetrics {
    calls: Family<CallLabels, Histogram>,
    /// How page views share the calls.
    pub batch: BatchMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    outcome: &'static str,
}

impl AnalyticsMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::new_with_constructor(|| Histogram::new(CALL_SECONDS)),
            batch: BatchMetrics::default(),
        };
        registry.register_with_unit(
            "voting_analytics_call_duration",
            "Time of one call of voting-analytics, for a whole group of page views",
            Unit::Seconds,
            metrics.calls.clone(),
        );
        metrics.batch.register("voting_analytics", registry);
        metrics
    }

    pub(crate) fn observe(&self, outcome: &'static str, took: Duration) {
        self.calls.get_or_create(&CallLabels { outcome }).observe(took.as_secs_f64());
    }
}
