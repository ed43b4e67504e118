//! Metrics of a store's work, in the conventions of Prometheus.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use voting_batch::{BATCH_SIZE_HELP, BatchMetrics, GaugeGuard, WAITING_HELP, batch_size_histogram};

use crate::store::StoreError;

/// Bucket bounds for the duration of calls, in seconds: from a local Redis to the deadline of a vote.
pub const CALL_SECONDS: [f64; 15] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0];

/// The metrics of one store; clones share them.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    calls: Family<Call, Histogram>,
    batch_sizes: Family<BatchLabel, Histogram>,
    waiting: Family<BatchLabel, Gauge>,
    connections: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BatchLabel {
    operation: &'static str,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            calls: Family::new_with_constructor(|| Histogram::new(CALL_SECONDS)),
            batch_sizes: Family::new_with_constructor(batch_size_histogram),
            waiting: Family::default(),
            connections: Gauge::default(),
        }
    }
}

impl StoreMetrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register_with_unit(
            "voting_store_call_duration",
            "Duration of one attempt at the store, for a whole batch of requests",
            Unit::Seconds,
            metrics.calls.clone(),
        );
        registry.register("voting_store_group_size", BATCH_SIZE_HELP, metrics.batch_sizes.clone());
        registry.register("voting_store_waiting", WAITING_HELP, metrics.waiting.clone());
        registry.register(
            "voting_store_connections",
            "Open connections to the store, kept ones and those of rare operations",
            metrics.connections.clone(),
        );
        metrics
    }

    pub(crate) fn batch(&self, operation: &'static str) -> BatchMetrics {
        let label = BatchLabel { operation };
        BatchMetrics::new(
            self.batch_sizes.get_or_create_owned(&label),
            self.waiting.get_or_create_owned(&label),
        )
    }

    pub(crate) fn connection(&self) -> GaugeGuard {
        GaugeGuard::new(&self.connections)
    }

    pub(crate) fn observe<T>(&self, operation: &'static str, took: Duration, result: &Result<T, StoreError>) {
        let outcome = result.as_ref().err().map_or("ok", StoreError::label);
        self.calls.get_or_create(&Call { operation, outcome }).observe(took.as_secs_f64());
    }
}
