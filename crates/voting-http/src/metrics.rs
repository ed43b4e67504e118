//! Metrics by the conventions of Prometheus.
//!
//! Each part of a service defines its metrics next to its code and registers them in one [`Registry`], whose constant
//! labels `component` and `release` make releases comparable.

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use voting_core::{Choice, Choices, Tally};

use crate::log;

/// A registry for one release of a component, with the metrics of the process.
pub(crate) fn registry(component: &'static str, release: &'static str) -> Registry {
    let labels = [("component", component), ("release", release)];
    let mut registry =
        Registry::with_labels(labels.map(|(name, value)| (name.into(), value.into())).into_iter());
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("voting_build", "Version of the program", build);
    registry.register_collector(Box::new(LogMetrics));
    registry
}

/// The registry's metrics in the OpenMetrics text format.
pub(crate) fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a `String` never fails.
    let _ = encode(&mut text, registry);
    text
}

/// The log of the process, which all registries of the process show.
#[derive(Debug)]
struct LogMetrics;

impl Collector for LogMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let dropped = ConstCounter::new(log::dropped_lines());
        let name = "voting_log_dropped_lines";
        let help = "Log lines dropped because the log's reader did not keep up or the output failed";
        dropped.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
    }
}

/// Requests by route and status; clones share the metrics.
#[derive(Clone, Debug)]
pub(crate) struct HttpMetrics {
    requests: Family<RequestLabels, Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

impl HttpMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let requests = Family::<RequestLabels, Histogram>::new_with_constructor(|| {
            Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0])
        });
        registry.register_with_unit(
            "http_request_duration",
            "Time from the header of a request to the header of its response",
            Unit::Seconds,
            requests.clone(),
        );
        Self { requests }
    }

    pub(crate) fn observe(&self, method: &'static str, route: &str, status: u16, duration: Duration) {
        let labels = RequestLabels { method, route: route.to_owned(), status };
        self.requests.get_or_create(&labels).observe(duration.as_secs_f64());
    }
}

/// The store's tally, read for each scrape: accepted votes can be compared with it.
#[derive(Clone, Debug)]
pub(crate) struct TallyMetrics {
    votes: Family<ChoiceLabel, Gauge>,
    names: [String; 2],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChoiceLabel {
    choice: String,
}

impl TallyMetrics {
    pub(crate) fn register(choices: &Choices, registry: &mut Registry) -> Self {
        let votes = Family::default();
        registry.register("voting_tally_votes", "Votes in the store", votes.clone());
        Self { votes, names: Choice::ALL.map(|choice| choices.name(choice).to_string()) }
    }

    /// Shows this tally; none rather than an old one if it could not be read.
    pub(crate) fn show(&self, tally: Option<Tally>) {
        self.votes.clear();
        let Some(tally) = tally else { return };
        for choice in Choice::ALL {
            let name = self.names[choice.index()].clone();
            let votes = i64::try_from(tally[choice]).unwrap_or(i64::MAX);
            self.votes.get_or_create(&ChoiceLabel { choice: name }).set(votes);
        }
    }
}
