//! The metrics of voting-app beyond those of its requests and its store.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use voting_batch::BatchMetrics;
use voting_core::{Choice, Choices};
use voting_storage::CALL_SECONDS;

use crate::outcome::Outcome;

/// The metrics; clones share them.
#[derive(Clone, Debug)]
pub struct AppMetrics {
    /// By choice and outcome. Looked up once: looking up the labels takes as long as counting.
    votes: [[Counter; Outcome::OF_BALLOTS.len()]; 2],
    invalid: Counter,
    pub viewers: Gauge,
    pub analytics: AnalyticsMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VoteLabels {
    choice: String,
    outcome: &'static str,
}

impl AppMetrics {
    /// Registers the metrics. Every series exists from the start: to Prometheus, a series that appears with its first
    /// vote has not increased.
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
        registry.register("voting_votes", "Votes by choice (empty for invalid votes) and outcome", votes);
        registry.register("voting_viewers", "Browsers that follow the live results", metrics.viewers.clone());
        metrics
    }

    /// Starts a vote, which the guard counts.
    pub fn start_vote(&self, choice: Choice) -> VoteGuard<'_> {
        VoteGuard { metrics: self, choice, outcome: Outcome::Abandoned }
    }

    /// Counts a request that was not a valid vote.
    pub fn count_invalid(&self) {
        self.invalid.inc();
    }
}

/// Counts a vote when dropped: as [`Outcome::Abandoned`] unless an outcome was recorded. The handler of a client that
/// disconnects is dropped while the store may still count the vote.
#[derive(Debug)]
pub struct VoteGuard<'a> {
    metrics: &'a AppMetrics,
    choice: Choice,
    outcome: Outcome,
}

impl VoteGuard<'_> {
    pub fn record(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for VoteGuard<'_> {
    fn drop(&mut self) {
        let of_choice = &self.metrics.votes[self.choice.index()];
        let index = Outcome::OF_BALLOTS.iter().position(|outcome| *outcome == self.outcome);
        index.map_or(&self.metrics.invalid, |index| &of_choice[index]).inc();
    }
}

/// The metrics of calls to voting-analytics; clones share them.
#[derive(Clone, Debug)]
pub struct AnalyticsMetrics {
    calls: Family<CallLabels, Histogram>,
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
            "Duration of a call to voting-analytics, which serves a batch of page views",
            Unit::Seconds,
            metrics.calls.clone(),
        );
        metrics.batch.register("voting_analytics", registry);
        metrics
    }

    pub fn observe(&self, outcome: &'static str, took: Duration) {
        self.calls.get_or_create(&CallLabels { outcome }).observe(took.as_secs_f64());
    }
}
