//! Metrics of a load.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The metrics of a load by the release of voting-app that answered; clones share them.
#[derive(Clone, Debug)]
pub struct LoadMetrics {
    ballots: Family<BallotLabels, Counter>,
    durations: Family<ReleaseLabel, Histogram>,
    reads: Family<ReleaseLabel, Counter>,
    stale_reads: Family<ReleaseLabel, Counter>,
    errors: Family<ErrorLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReleaseLabel {
    release: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BallotLabels {
    release: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    release: String,
    error: String,
}

impl Default for LoadMetrics {
    fn default() -> Self {
        Self {
            ballots: Family::default(),
            durations: Family::new_with_constructor(|| {
                Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
            }),
            reads: Family::default(),
            stale_reads: Family::default(),
            errors: Family::default(),
        }
    }
}

fn label(release: &str) -> ReleaseLabel {
    ReleaseLabel { release: release.to_owned() }
}

impl LoadMetrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        let name = "voting_load_ballots";
        registry.register(name, "Ballots by their final outcome", self.ballots.clone());
        registry.register_with_unit(
            "voting_load_vote_duration",
            "Time from a vote to its acceptance; in a load with a rate, from the vote's turn",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register("voting_load_reads", "Reads of the results", self.reads.clone());
        let help = "Reads that missed a vote that was accepted before";
        registry.register("voting_load_stale_reads", help, self.stale_reads.clone());
        registry.register("voting_load_errors", "Failed attempts by kind", self.errors.clone());
    }

    pub(crate) fn ballot(&self, release: &str, outcome: &'static str) {
        self.ballots.get_or_create(&BallotLabels { release: release.to_owned(), outcome }).inc();
    }

    pub(crate) fn accepted(&self, release: &str, duration: Duration) {
        self.durations.get_or_create(&label(release)).observe(duration.as_secs_f64());
    }

    pub(crate) fn read(&self, release: &str, is_stale: bool) {
        self.reads.get_or_create(&label(release)).inc();
        // A counter that exists before its first event has a rate from the first one on.
        self.stale_reads.get_or_create(&label(release)).inc_by(u64::from(is_stale));
    }

    pub(crate) fn error(&self, release: &str, error: &str) {
        let labels = ErrorLabels { release: release.to_owned(), error: error.to_owned() };
        self.errors.get_or_create(&labels).inc();
    }
}
