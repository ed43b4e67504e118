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
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use voting_http::layer::{Around, CommonLayer, has_too_many_cookies};
use voting_http::serving_path::ServingPath;

use crate::app::App;
use crate::base::Base;
use crate::error::AppError;
use crate::origin;

/// The OpenAPI description of the routes, without the page's own files, whose names are internal.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// The routes of voting-app.
pub fn routes(app: App) -> Router {
    let path = ServingPath::new(&[("app", app.release.version), ("storage", app.release.storage.version)]);
    let headers = [(ServingPath::HEADER, path.into())];
    Router::new()
        .route("/", get(poll::show).post(vote::cast))
        .route("/featureflag/{action}", post(feature_flag::change))
        .route("/events", get(events::stream))
        .route("/assets/{version}/{name}", get(assets::serve))
        .method_not_allowed_fallback(async || AppError::MethodNotAllowed)
        .fallback(async || AppError::NotFound)
        .layer(CommonLayer::new(app.observer.clone(), headers, Pages(app.clone())))
        .with_state(app)
}

/// Rejects requests and renders errors.
struct Pages(App);

impl Around for Pages {
    type Request = Base;

    fn before(&self, request: &Request) -> Result<Base, Box<Response>> {
        let base = Base::of(request);
        let error = if has_too_many_cookies(request.headers()) {
            AppError::TooManyCookies
        } else {
            match origin::check(request, &self.0.proxy) {
                Ok(()) => return Ok(base),
                Err(foreign) => AppError::CrossSite(foreign),
            }
        };
        Err(Box::new(errors::render(&self.0, &base, error.into_response())))
    }

    fn after(&self, base: Base, response: Response) -> Response {
        errors::render(&self.0, &base, response)
    }
}
