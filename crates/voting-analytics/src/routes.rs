//! The HTTP routes, which `openapi.json` beside this crate's `Cargo.toml` describes.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use voting_core::Choice;
use voting_faults::Faults;
use voting_faults::requests::{InjectedError, inject};
use voting_http::layer::CommonLayer;
use voting_http::retry::FINAL;
use voting_http::serving_path::ServingPath;

use crate::analytics::Analytics;
use crate::contract::{AnalyticsResponse, CategoryResult, Problem};
use crate::summary;

/// The OpenAPI description of the routes.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// The routes of voting-analytics.
pub fn routes(analytics: Analytics) -> Router {
    let release = analytics.release;
    let path = ServingPath::new(&[("analytics", release.version), ("storage", release.storage.version)]);
    let faults = analytics.faults.clone();
    let path = path.with_faults("analytics", faults.as_ref().map(Faults::names).as_deref());
    let headers = [
        (ServingPath::HEADER, HeaderValue::from(&path)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let observer = analytics.observer.clone();
    let routes = Router::new()
        .route("/analytics", get(results))
        .method_not_allowed_fallback(|| async {
            problem(StatusCode::METHOD_NOT_ALLOWED, "method not allowed; allowed: GET")
        })
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "not found; allowed: GET /analytics") })
        .with_state(analytics);
    let routes = match &faults {
        Some(faults) => inject(faults, routes, injected),
        None => routes,
    };
    routes.layer(CommonLayer::new(observer, headers, ()))
}

/// Reads the results, not older than the request.
///
/// The header `x-voting-path` names the releases that served the response.
async fn results(State(analytics): State<Analytics>) -> Response {
    let Analytics { release, choices, store, faults, .. } = analytics;
    let tally = match store.tally().await {
        Ok(tally) => tally,
        Err(error) => {
            tracing::warn!(%error, "request answered with 503");
            let retry = [(header::RETRY_AFTER, "1"), (FINAL, "true")];
            let problem =
                problem(StatusCode::SERVICE_UNAVAILABLE, "the store is unavailable; try again later");
            return (retry, problem).into_response();
        }
    };
    let counts = faults.map_or(tally, |faults| faults.counts(tally));
    let result = |choice| CategoryResult { name: choices.name(choice).to_string(), count: counts[choice] };
    Json(AnalyticsResponse {
        category1: result(Choice::First),
        category2: result(Choice::Second),
        text: summary::text(release.summary, &choices, tally),
    })
    .into_response()
}

fn injected(InjectedError { fault, status }: InjectedError) -> Response {
    problem(
        status,
        &format!("injected fault: {}; allowed: other requests, or a release without FAULTS", fault.name()),
    )
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(Problem { error: error.to_owned() })).into_response()
}
