//! The HTTP routes, a file each, and what holds for all of them.

pub mod assets;
mod events;
pub(crate) mod feature_flag;
mod poll;
pub mod vote;

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::get;
use tower::ServiceBuilder;
use tower_http::csrf::CsrfLayer;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use voting_http::headers::{VOTING_PATH, voting_path};
use voting_http::layer::{CommonLayer, has_too_many_cookies};

use crate::App;
use crate::error::AppError;

/// Everything that voting-app answers.
pub fn routes(app: App) -> Router {
    let path = voting_path(&[("app", app.release.version), ("storage", app.release.storage.version)]);
    let headers = [(VOTING_PATH.clone(), path)];
    let observed = app.observed.clone();
    let cross_site = {
        let app = app.clone();
        move |_| AppError::CrossSite.into_page(&app)
    };
    let too_many_cookies = {
        let app = app.clone();
        move |request: &Request| {
            has_too_many_cookies(request.headers()).then(|| AppError::TooManyCookies.into_page(&app))
        }
    };
    documented()
        .0
        .route("/assets/{version}/{name}", get(assets::serve))
        .method_not_allowed_fallback(async |State(app): State<App>| {
            AppError::MethodNotAllowed.into_page(&app)
        })
        .fallback(async |State(app): State<App>| AppError::NotFound.into_page(&app))
        .layer(
            ServiceBuilder::new()
                .layer(CommonLayer::new(observed, headers, too_many_cookies))
                .layer(CsrfLayer::new().with_rejection_response(cross_site)),
        )
        .with_state(app)
}

/// What it answers, in OpenAPI; but for the files of the page, whose names are its own business.
pub fn api() -> OpenApi {
    documented().1
}

fn documented() -> (Router<App>, OpenApi) {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(poll::show, vote::cast))
        .routes(routes!(feature_flag::change))
        .routes(routes!(events::stream))
        .split_for_parts()
}

/// voting-app: the page on which people vote.
#[derive(utoipa::OpenApi)]
struct Api;
