//! The HTTP routes.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tower_http::set_header::SetResponseHeaderLayer;
use voting_service::headers::{VOTING_PATH, voting_path};
use voting_service::server::guarded;
use voting_storage::Category;

use crate::Analytics;
use crate::contract::{CategoryResult, Problem, Results};
use crate::summary;

/// Everything that voting-analytics answers.
pub fn routes(analytics: Analytics) -> Router {
    let release = analytics.release;
    let path = voting_path(&[("analytics", release.version), ("storage", release.storage.version)]);
    let observed = analytics.observed.clone();
    let routes = Router::new()
        .route("/analytics", get(results))
        .method_not_allowed_fallback(|| async { problem(StatusCode::METHOD_NOT_ALLOWED, "allowed: GET") })
        .fallback(|| async {
            problem(StatusCode::NOT_FOUND, "there is nothing here; allowed: GET /analytics")
        })
        .with_state(analytics)
        .layer(SetResponseHeaderLayer::overriding(VOTING_PATH.clone(), path))
        .layer(SetResponseHeaderLayer::overriding(
            header::CACHE_CONTROL,
            http::HeaderValue::from_static("no-store"),
        ));
    guarded(routes, observed)
}

/// `GET /analytics`: the results at this moment, never an older one; 503 while the store is away.
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
    let result =
        |category| CategoryResult { name: choices.name(category).to_string(), count: tally[category] };
    Json(Results {
        category1: result(Category::First),
        category2: result(Category::Second),
        text: summary::text(release.summary, &choices, tally),
    })
    .into_response()
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(Problem { error: error.to_owned() })).into_response()
}
