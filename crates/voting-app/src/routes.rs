//! The HTTP routes, one file each, and the layer around them. `openapi.json` beside this crate's `Cargo.toml` describes
//! them.

mod assets;
mod errors;
mod events;
mod feature_flag;
mod poll;
mod vote;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use tower::ServiceBuilder;
use tower_http::csrf::CsrfLayer;
use voting_http::layer::{CommonLayer, has_too_many_cookies};
use voting_http::serving_path::ServingPath;

use crate::app::App;
use crate::error::AppError;

/// The OpenAPI description of the routes, without the page's own files, whose names are internal.
pub const OPENAPI: &str = include_str!("../openapi.json");

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
    Router::new()
        .route("/", get(poll::show).post(vote::cast))
        .route("/featureflag/{action}", post(feature_flag::change))
        .route("/events", get(events::stream))
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
