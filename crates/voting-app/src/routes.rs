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
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use voting_faults::Faults;
use voting_faults::requests::inject;
use voting_http::layer::{Around, CommonLayer};
use voting_http::origin;
use voting_http::serving_path::ServingPath;

use crate::app::App;
use crate::base::Base;
use crate::error::AppError;

/// The OpenAPI description of the routes, without the page's own files, whose names are internal.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// The routes of voting-app.
pub fn routes(app: App) -> Router {
    let path = ServingPath::new(&[("app", app.release.version), ("storage", app.release.storage.version)]);
    let faults = app.faults.as_ref();
    let path = path.with_faults("app", faults.map(Faults::names).as_deref());
    let headers = [(ServingPath::HEADER, HeaderValue::from(&path))];
    let routes = Router::new()
        .route("/", get(poll::show).post(vote::cast))
        .route("/featureflag/{action}", post(feature_flag::change))
        .route("/events", get(events::stream))
        .route("/assets/{version}/{name}", get(assets::serve))
        .method_not_allowed_fallback(async || AppError::MethodNotAllowed)
        .fallback(async || AppError::NotFound);
    let routes = match faults {
        Some(faults) => inject(faults, routes, |error| AppError::Injected(error).into_response()),
        None => routes,
    };
    routes.layer(CommonLayer::new(app.observer.clone(), headers, Pages::new(app.clone()))).with_state(app)
}

/// Rejects requests, renders errors, and has browsers use TLS again.
struct Pages {
    app: App,
    /// `Strict-Transport-Security`.
    tls_only: Option<HeaderValue>,
}

impl Pages {
    fn new(app: App) -> Self {
        let header = |seconds| HeaderValue::try_from(format!("max-age={seconds}")).ok();
        Self { tls_only: app.proxy.hsts_max_age.and_then(header), app }
    }

    fn complete(&self, base: &Base, response: Response) -> Response {
        let mut response = errors::render(&self.app, base, response);
        // Over plain HTTP browsers must ignore it.
        if let (Some(value), true) = (&self.tls_only, base.is_https) {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, value.clone());
        }
        response
    }
}

impl Around for Pages {
    type Request = Base;

    fn before(&self, request: &Request) -> Result<Base, Box<Response>> {
        let base = Base::of(request);
        match origin::check(request, &self.app.proxy) {
            Ok(()) => Ok(base),
            Err(foreign) => Err(Box::new(self.complete(&base, AppError::CrossSite(foreign).into_response()))),
        }
    }

    fn after(&self, base: Base, response: Response) -> Response {
        self.complete(&base, response)
    }
}
