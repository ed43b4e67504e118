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
use voting_http::headers::{VOTING_PATH, voting_path};
use voting_http::layer::CommonLayer;

use crate::Analytics;
use crate::contract::{CategoryResult, Problem, Results};
use crate::summary;

/// Everything that voting-analytics answers.
pub fn routes(analytics: Analytics) -> Router {
    let release = analytics.release;
    let path = voting_path(&[("analytics", release.version), ("storage", release.storage.version)]);
    let headers =
        [(VOTING_PATH.clone(), path), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    let observed = analytics.observed.clone();
    documented()
        .0
        .method_not_allowed_fallback(|| async { problem(StatusCode::METHOD_NOT_ALLOWED, "allowed: GET") })
        .fallback(|| async {
            problem(StatusCode::NOT_FOUND, "there is nothing here; allowed: GET /analytics")
        })
        .with_state(analytics)
        .layer(CommonLayer::new(observed, headers, |_| None))
}

/// What it answers, in OpenAPI.
pub fn api() -> OpenApi {
    documented().1
}

fn documented() -> (Router<Analytics>, OpenApi) {
    OpenApiRouter::with_openapi(Api::openapi()).routes(routes!(results)).split_for_parts()
}

/// voting-analytics: what the votes add up to.
#[derive(utoipa::OpenApi)]
struct Api;

/// The results at this moment, never an older one.
///
/// Every answer says in the header `x-voting-path` which releases served it.
#[utoipa::path(
    get,
    path = "/analytics",
    responses(
        (status = OK, description = "What the votes add up to.", body = Results),
        (status = SERVICE_UNAVAILABLE, description = "The store is away; Retry-After says when to try again.", body = Problem),
    ),
)]
async fn results(State(analytics): State<Analytics>) -> Response {
    let Analytics { release, choices, store, .. } = analytics;
    let tally = match store.tally().await {
        Ok(tally) => tally,
        Err(error) => {
            tracing::warn!(%error, "The results are unavailable.");
            let retry = [(header::RETRY_AFTER, "1")];
            let problem =
                problem(StatusCode::SERVICE_UNAVAILABLE, "the store of the votes is away; try again soon");
            return (retry, problem).into_response();
        }
    };
    let result = |choice| CategoryResult { name: choices.name(choice).to_string(), count: tally[choice] };
    Json(Results {
        category1: result(Choice::First),
        category2: result(Choice::Second),
        text: summary::text(release.summary, &choices, tally),
    })
    .into_response()
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(Problem { error: error.to_owned() })).into_response()
}
