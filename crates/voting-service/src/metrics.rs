//! What is counted and timed, in the conventions of Prometheus.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The numbers of one service; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Family<RequestLabels, Histogram>,
    votes: Family<VoteLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VoteLabels {
    choice: String,
    outcome: &'static str,
}

impl Metrics {
    /// The numbers of this release of a component.
    pub fn new(component: &'static str, release: &'static str) -> Self {
        let mut registry = Registry::default();
        let requests = Family::<RequestLabels, Histogram>::new_with_constructor(|| {
            Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0])
        });
        let votes = Family::<VoteLabels, Counter>::default();
        let build = Info::new([("component", component), ("release", release)]);
        registry.register("voting_build", "The release that runs", build);
        registry.register_with_unit(
            "http_request_duration",
            "Time from the head of a request to the head of its answer",
            Unit::Seconds,
            requests.clone(),
        );
        registry.register("voting_votes", "Votes by choice and by what became of them", votes.clone());
        Self { registry: Arc::new(registry), requests, votes }
    }

    /// Counts a vote for a choice by its outcome.
    pub fn count_vote(&self, choice: &str, outcome: &'static str) {
        self.votes.get_or_create(&VoteLabels { choice: choice.to_owned(), outcome }).inc();
    }

    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Times a request under its route, so that no path that somebody makes up becomes a label.
pub async fn measure(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = match request.method().as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        _ => "other",
    };
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let labels = RequestLabels { method, route, status: response.status().as_u16() };
    metrics.requests.get_or_create(&labels).observe(start.elapsed().as_secs_f64());
    response
}
