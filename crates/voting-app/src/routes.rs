//! The HTTP routes, one file each, and the layer around them.

mod assets;
mod errors;
mod events;
mod feature_flag;
mod poll;
mod vote;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse as _;
use axum::routing::get;
use tower::ServiceBuilder;
use tower_http::csrf::CsrfLayer;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use voting_http::layer::{CommonLayer, has_too_many_cookies};
use voting_http::serving_path::ServingPath;

use crate::app::App;
use crate::error::AppError;

/// The routes of voting-app.
pub fn routes(app: App) -> Router {
    let path = ServingPath::new(&[("app", app.release.version), ("storage", app.release.storage.version)]);
    let headers = [(ServingPath::HEADER, path.into())];
    let too_many_cookies = {
        let app = app.clone();
        move |request: &Request| {
            let error = || errors::render(&app, AppError::TooManyCookies.into_response());
            has_too_many_cookies(request.headers()).then(error)
        }
    };
    let render_errors = {
        let app = app.clone();
        move |response| errors::render(&app, response)
    };
    documented()
        .0
        .route("/assets/{version}/{name}", get(assets::serve))
        .method_not_allowed_fallback(async || AppError::MethodNotAllowed)
        .fallback(async || AppError::NotFound)
        .layer(
            ServiceBuilder::new()
                .layer(CommonLayer::new(app.observer.clone(), headers, too_many_cookies))
                .map_response(render_errors)
                .layer(CsrfLayer::new().with_rejection_response(|_| AppError::CrossSite.into_response())),
        )
        .with_state(app)
}

/// The OpenAPI description of the routes, without the page's own files, whose names are internal.
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

/// voting-app: the page of the poll.
#[derive(utoipa::OpenApi)]
struct Api;
