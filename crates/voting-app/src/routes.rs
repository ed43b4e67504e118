//! The HTTP routes, a file each, and what holds for all of them.

pub mod assets;
mod events;
pub(crate) mod feature_flag;
mod poll;
pub mod vote;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use tower_http::csrf::CsrfLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use voting_service::headers::{VOTING_PATH, voting_path};
use voting_service::server::{guarded, has_too_many_cookies};

use crate::App;
use crate::error::AppError;

/// What a page may load and do: its own files, its own forms, nothing inline, in no frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Everything that voting-app answers.
pub fn routes(app: App) -> Router {
    let path = voting_path(&[("app", app.release.version), ("storage", app.release.storage.version)]);
    let observed = app.observed.clone();
    let cross_site = {
        let app = app.clone();
        move |_| AppError::CrossSite.into_page(&app)
    };
    let header = |name: HeaderName, value| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    let routes = documented()
        .0
        .route("/assets/{version}/{name}", get(assets::serve))
        .method_not_allowed_fallback(async |State(app): State<App>| {
            AppError::MethodNotAllowed.into_page(&app)
        })
        .fallback(async |State(app): State<App>| AppError::NotFound.into_page(&app))
        .layer(CsrfLayer::new().with_rejection_response(cross_site))
        .layer(from_fn_with_state(app.clone(), limit_cookies))
        .layer(SetResponseHeaderLayer::if_not_present(VOTING_PATH.clone(), path))
        .layer(header(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .layer(header(header::X_FRAME_OPTIONS, "DENY"))
        .with_state(app);
    guarded(routes, observed)
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

async fn limit_cookies(State(app): State<App>, request: Request<Body>, next: Next) -> Response {
    if has_too_many_cookies(&request) {
        AppError::TooManyCookies.into_page(&app)
    } else {
        next.run(request).await
    }
}
