//! The HTTP routes.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use voting_core::Choice;
use voting_http::layer::CommonLayer;
use voting_http::serving_path::ServingPath;

use crate::analytics::Analytics;
use crate::contract::{AnalyticsResponse, CategoryResult, Problem};
use crate::summary;

/// The routes of voting-analytics.
pub fn routes(analytics: Analytics) -> Router {
    let release = analytics.release;
    let path = ServingPath::new(&[("analytics", release.version), ("storage", release.storage.version)]);
    let headers =
        [(ServingPath::HEADER, path.into()), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    let observer = analytics.observer.clone();
    documented()
        .0
        .method_not_allowed_fallback(|| async {
            problem(StatusCode::METHOD_NOT_ALLOWED, "method not allowed; allowed: GET")
        })
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "not found; allowed: GET /analytics") })
        .with_state(analytics)
        .layer(CommonLayer::new(observer, headers, |_| None))
}

/// The OpenAPI description of the routes.
pub fn api() -> OpenApi {
    documented().1
}

fn documented() -> (Router<Analytics>, OpenApi) {
    OpenApiRouter::with_openapi(Api::openapi()).routes(routes!(results)).split_for_parts()
}

/// voting-analytics: the results of the poll.
#[derive(utoipa::OpenApi)]
struct Api;

/// Reads the results, not older than the request.
///
/// The header `x-voting-path` names the releases that served the response.
#[utoipa::path(
    get,
    path = "/analytics",
    responses(
        (status = OK, description = "The results of the poll.", body = AnalyticsResponse),
        (status = SERVICE_UNAVAILABLE, description = "The store is unavailable; Retry-After says when to try again.", body = Problem),
    ),
)]
async fn results(State(analytics): State<Analytics>) -> Response {
    let Analytics { release, choices, store, .. } = analytics;
    let tally = match store.tally().await {
        Ok(tally) => tally,
        Err(error) => {
            tracing::warn!(%error, "request answered with 503");
            let retry = [(header::RETRY_AFTER, "1")];
            let problem =
                problem(StatusCode::SERVICE_UNAVAILABLE, "the store is unavailable; try again later");
            return (retry, problem).into_response();
        }
    };
    let result = |choice| CategoryResult { name: choices.name(choice).to_string(), count: tally[choice] };
    Json(AnalyticsResponse {
        category1: result(Choice::First),
        category2: result(Choice::Second),
        text: summary::text(release.summary, &choices, tally),
    })
    .into_response()
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(Problem { error: error.to_owned() })).into_response()
}
