//! The port for the operator, which is never routed to the outside.
//!
//! `GET /livez` answers 200 while the process serves. `GET /readyz` answers 200, or 503 while the service drains or
//! its store is away; `?exclude=store` leaves the store out: a page that says that votes can't be taken is better
//! than no page, so that is what a readiness probe should ask. `GET /metrics` has the numbers, and
//! `GET /openapi.json` the description of the service's own port.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use utoipa::openapi::OpenApi;
use voting_core::Choices;
use voting_storage::{StoreError, VoteStore};

use crate::lifecycle::Lifecycle;
use crate::metrics::{TallyMetrics, text};

/// How long the store may take to answer what the admin port asks.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Admin {
    lifecycle: Lifecycle,
    store: Arc<dyn VoteStore>,
    registry: Arc<Registry>,
    tally: TallyMetrics,
}

/// The routes of the admin port of a service on this store.
pub fn routes(
    lifecycle: Lifecycle,
    store: Arc<dyn VoteStore>,
    choices: &Choices,
    mut registry: Registry,
    api: &OpenApi,
) -> Router {
    let api: Arc<str> = api.to_json().unwrap_or_default().into();
    let tally = TallyMetrics::register(choices, &mut registry);
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route(
            "/openapi.json",
            get(async move || ([(header::CONTENT_TYPE, "application/json")], api.to_string())),
        )
        .with_state(Admin { lifecycle, store, registry: Arc::new(registry), tally })
}

async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let excluded = query.is_some_and(|query| query.split('&').any(|part| part == "exclude=store"));
    let store_is_there = excluded || within(admin.store.ping()).await.is_some();
    let lines = [("shutdown", !admin.lifecycle.is_draining()), ("store", store_is_there)];
    let status =
        if lines.iter().all(|(_, ok)| *ok) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text =
        lines.map(|(name, ok)| if ok { format!("[+]{name} ok\n") } else { format!("[-]{name} failed\n") });
    (status, text.concat())
}

async fn metrics_text(State(admin): State<Admin>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    admin.tally.show(within(admin.store.tally()).await);
    ([(header::CONTENT_TYPE, content_type)], text(&admin.registry))
}

/// What the store answers, if it does in time.
async fn within<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    tokio::time::timeout(STORE_TIMEOUT, answer).await.ok()?.ok()
}
