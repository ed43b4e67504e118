//! Metrics of a [`Batcher`](crate::Batcher), in the conventions of Prometheus.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Help text of a histogram made by [`batch_size_histogram`].
pub const BATCH_SIZE_HELP: &str = "Requests that shared one call";
/// Help text of a gauge of waiting requests.
pub const WAITING_HELP: &str = "Requests waiting for a call";

/// A histogram of batch sizes: 1, 2, 4, … 4096 requests.
pub fn batch_size_histogram() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 13))
}

/// The metrics of one batcher; clones share them.
#[derive(Clone, Debug)]
pub struct BatchMetrics {
    pub(crate) batch_size: Histogram,
    pub(crate) waiting: Gauge,
}

impl Default for BatchMetrics {
    fn default() -> Self {
        Self::new(batch_size_histogram(), Gauge::default())
    }
}

impl BatchMetrics {
    /// Metrics on existing series, such as those of a family.
    pub fn new(batch_size: Histogram, waiting: Gauge) -> Self {
        Self { batch_size, waiting }
    }

    /// Registers the metrics as `{prefix}_group_size` and `{prefix}_waiting`.
    pub fn register(&self, prefix: &str, registry: &mut Registry) {
        registry.register(format!("{prefix}_group_size"), BATCH_SIZE_HELP, self.batch_size.clone());
        registry.register(format!("{prefix}_waiting"), WAITING_HELP, self.waiting.clone());
    }
}

/// Counts in a gauge for as long as it lives.
#[derive(Debug)]
pub struct GaugeGuard(Gauge);

impl GaugeGuard {
    /// Increments the gauge; dropping the guard decrements it.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
