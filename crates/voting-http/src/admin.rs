//! The operator's port, which is never exposed publicly.
//!
//! - `GET /livez`: 200 while the process serves.
//! - `GET /readyz`: 200, or 503 while the service drains or its store is unavailable or takes no ballots. Lines that begin
//!   with `[!]` say what endangers the store's promises. `?exclude=store` ignores the store; readiness probes should use it, because a page that says that voting is unavailable beats no page.
//! - `GET /metrics`: metrics in the OpenMetrics text format.
//! - `GET /openapi.json`: the OpenAPI description of the public port.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use voting_core::Choices;
use voting_faults::Faults;
use voting_storage::{Severity, StoreError, VoteStore};

use crate::lifecycle::Lifecycle;
use crate::metrics::{TallyMetrics, text};

/// Shorter than the usual timeouts of probes and scrapes.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// The state of the operator's port.
pub struct AdminPort {
    store: Arc<dyn VoteStore>,
    registry: Registry,
    tally: TallyMetrics,
    openapi: &'static str,
    faults: Option<Faults>,
}

impl AdminPort {
    /// A port that checks this store and shows its tally, the metrics of `registry`, and the description `openapi`
    /// of the public port. Its probes have these faults.
    pub fn new(
        store: Arc<dyn VoteStore>,
        choices: &Choices,
        mut registry: Registry,
        openapi: &'static str,
        faults: Option<Faults>,
    ) -> Self {
        let tally = TallyMetrics::register(choices, &mut registry);
        Self { store, registry, tally, openapi, faults }
    }

    pub(crate) fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    pub(crate) fn store(&self) -> Arc<dyn VoteStore> {
        self.store.clone()
    }

    pub(crate) fn routes(self, lifecycle: Lifecycle) -> Router {
        let Self { store, registry, tally, openapi, faults } = self;
        Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics_text))
            .route(
                "/openapi.json",
                get(async move || ([(header::CONTENT_TYPE, "application/json")], openapi)),
            )
            .with_state(Admin { lifecycle, store, registry: Arc::new(registry), tally, faults })
    }
}

/// `/livez` and `/metrics` of a process without a store.
pub fn of_process(registry: Registry) -> Router {
    let registry = Arc::new(registry);
    Router::new()
        .route("/livez", get(async || ALIVE))
        .route("/metrics", get(async move || (METRICS, text(&registry))))
}

const ALIVE: &str = "ok\n";

const METRICS: [(HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];

#[derive(Clone)]
struct Admin {
    lifecycle: Lifecycle,
    store: Arc<dyn VoteStore>,
    registry: Arc<Registry>,
    tally: TallyMetrics,
    faults: Option<Faults>,
}

async fn livez(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.faults {
        Some(faults) if faults.fails_liveness() => (StatusCode::SERVICE_UNAVAILABLE, "injected fault\n"),
        _ => (StatusCode::OK, ALIVE),
    }
}

async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let is_excluded = query.is_some_and(|query| query.split('&').any(|part| part == "exclude=store"));
    let is_store_ok = is_excluded || within_timeout(admin.store.ping()).await.is_some();
    let findings = if is_excluded { Vec::new() } else { admin.store.findings() };
    let is_store_ok = is_store_ok && !findings.iter().any(|finding| finding.severity == Severity::Refusal);
    let mut checks = vec![("shutdown", !admin.lifecycle.is_draining()), ("store", is_store_ok)];
    if let Some(faults) = &admin.faults {
        faults.judge_readiness(&mut checks);
    }
    let status =
        if checks.iter().all(|(_, ok)| *ok) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let line = |(name, ok)| if ok { format!("[+]{name} ok\n") } else { format!("[-]{name} failed\n") };
    let text: String = checks.into_iter().map(line).collect();
    let findings = findings.iter().filter(|finding| finding.severity >= Severity::Warning);
    let findings: String = findings.map(|finding| format!("[!]store {finding}\n")).collect();
    (status, text + &findings)
}

async fn metrics_text(State(admin): State<Admin>) -> impl IntoResponse {
    admin.tally.show(within_timeout(admin.store.tally()).await);
    (METRICS, text(&admin.registry))
}

async fn within_timeout<T>(call: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    tokio::time::timeout(STORE_TIMEOUT, call).await.ok()?.ok()
}
