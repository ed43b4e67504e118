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
use voting_http::layer::{CommonLayer, has_too_many_cookies};
use voting_http::serving_path::ServingPath;

use crate::app::App;
use crate::error::AppError;
use crate::origin;

/// The OpenAPI description of the routes, without the page's own files, whose names are internal.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// The routes of voting-app.
pub fn routes(app: App) -> Router {
    let path = ServingPath::new(&[("app", app.release.version), ("storage", app.release.storage.version)]);
    let headers = [(ServingPath::HEADER, path.into())];
    let reject = {
        let app = app.clone();
        move |request: &Request| {
            let error = if has_too_many_cookies(request.headers()) {
                AppError::TooManyCookies
            } else {
                AppError::CrossSite(origin::check(request, &app.proxy).err()?)
            };
            Some(errors::render(&app, error.into_response()))
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
                .layer(CommonLayer::new(app.observer.clone(), headers, reject))
                .map_response(render_errors),
        )
        .with_state(app)
}
