//! What a store's work is measured by, in the conventions of Prometheus.
//!
//! The numbers are kept whether or not somebody reads them; [`StoreMetrics::register`] makes them readable.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::store::StoreError;

/// Bounds of the histograms of calls, in seconds: from a Redis next door to the deadline of a vote.
pub const CALL_SECONDS: [f64; 15] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0];

/// The numbers of one [`Lane`](crate::lane::Lane); clones share them.
#[derive(Clone, Debug)]
pub struct LaneMetrics {
    pub(crate) group_size: Histogram,
    pub(crate) waiting: Gauge,
}

impl Default for LaneMetrics {
    fn default() -> Self {
        Self { group_size: group_size(), waiting: Gauge::default() }
    }
}

impl LaneMetrics {
    /// Makes the numbers readable as `{prefix}_group_size` and `{prefix}_waiting`.
    pub fn register(&self, prefix: &str, registry: &mut Registry) {
        registry.register(format!("{prefix}_group_size"), GROUP_SIZE, self.group_size.clone());
        registry.register(format!("{prefix}_waiting"), WAITING, self.waiting.clone());
    }
}

const GROUP_SIZE: &str = "Requests that shared one call";
const WAITING: &str = "Requests that wait for a call";

fn group_size() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 13))
}

/// Something that a gauge counts for as long as it is there.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counted {
    /// Counted from now on.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The numbers of one store; clones share them.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    calls: Family<Call, Histogram>,
    group_sizes: Family<LaneLabel, Histogram>,
    waiting: Family<LaneLabel, Gauge>,
    connections: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    operation: &'static str,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            calls: Family::new_with_constructor(|| Histogram::new(CALL_SECONDS)),
            group_sizes: Family::new_with_constructor(group_size),
            waiting: Family::default(),
            connections: Gauge::default(),
        }
    }
}

impl StoreMetrics {
    /// New numbers, readable in the registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register_with_unit(
            "voting_store_call_duration",
            "Time of one attempt at the store, for a whole group of requests",
            Unit::Seconds,
            metrics.calls.clone(),
        );
        registry.register("voting_store_group_size", GROUP_SIZE, metrics.group_sizes.clone());
        registry.register("voting_store_waiting", WAITING, metrics.waiting.clone());
        registry.register(
            "voting_store_connections",
            "Open connections to the store, those that are kept and what is opened for something rare",
            metrics.connections.clone(),
        );
        metrics
    }

    pub(crate) fn lane(&self, operation: &'static str) -> LaneMetrics {
        let label = LaneLabel { operation };
        LaneMetrics {
            group_size: self.group_sizes.get_or_create_owned(&label),
            waiting: self.waiting.get_or_create_owned(&label),
        }
    }

    pub(crate) fn connection(&self) -> Counted {
        Counted::new(&self.connections)
    }

    pub(crate) fn observe<T>(&self, operation: &'static str, took: Duration, result: &Result<T, StoreError>) {
        let outcome = match result {
            Ok(_) => "ok",
            Err(StoreError::Unavailable(_)) => "unavailable",
            Err(StoreError::Unconfirmed(_)) => "unconfirmed",
            Err(StoreError::Unusable(_)) => "unusable",
        };
        self.calls.get_or_create(&Call { operation, outcome }).observe(took.as_secs_f64());
    }
}
