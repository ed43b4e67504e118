//! What is counted and timed, in the conventions of Prometheus.
//!
//! Each part of a service has its numbers beside its code and registers them in one [`Registry`], whose constant
//! labels `component` and `release` let releases be compared wherever they run.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use voting_core::{Choice, Choices, Tally};

/// A registry for one release of a component, with its build information.
pub(crate) fn registry(component: &'static str, release: &'static str) -> Registry {
    let labels = [("component", component), ("release", release)];
    let mut registry =
        Registry::with_labels(labels.map(|(name, value)| (name.into(), value.into())).into_iter());
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("voting_build", "The program that runs", build);
    registry
}

/// The registry's numbers in the OpenMetrics text format.
pub(crate) fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = encode(&mut text, registry);
    text
}

/// Requests by route and status; clones share the numbers.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    requests: Family<RequestLabels, Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

impl HttpMetrics {
    /// New numbers, readable in the registry.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let requests = Family::<RequestLabels, Histogram>::new_with_constructor(|| {
            Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0])
        });
        registry.register_with_unit(
            "http_request_duration",
            "Time from the head of a request to the head of its answer",
            Unit::Seconds,
            requests.clone(),
        );
        Self { requests }
    }

    pub(crate) fn observe(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let labels = RequestLabels { method, route: route.to_owned(), status };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// What the store holds, as it was read for whoever reads the numbers: accepted votes can be held against it.
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
        registry.register("voting_tally_votes", "Votes that the store holds at this moment", votes.clone());
        Self { votes, names: Choice::ALL.map(|choice| choices.name(choice).to_string()) }
    }

    /// Shows this tally; nothing, rather than an old one, if it could not be read.
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
