//! Every request is counted and timed, logged in one line, and a span of its trace.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use prometheus_client::registry::Registry;
use tracing::{Instrument as _, field};

use crate::metrics::{HttpMetrics, registry};
use crate::trace;

/// A service under observation.
#[derive(Clone, Debug)]
pub struct RequestObserver {
    /// Its name.
    pub component: &'static str,
    /// The release that it serves.
    pub release: &'static str,
    /// Its requests.
    pub metrics: HttpMetrics,
}

impl RequestObserver {
    /// A release of a component, and the registry in which its requests, and whatever else it counts, are readable.
    pub fn register(component: &'static str, release: &'static str) -> (Self, Registry) {
        let mut registry = registry(component, release);
        let metrics = HttpMetrics::register(&mut registry);
        (Self { component, release, metrics }, registry)
    }
}

/// Observes how a request is answered. Numbers and spans have its route, so that no path that somebody makes up becomes a label.
pub(crate) async fn observe(
    observed: &RequestObserver,
    mut request: Request,
    answer: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let start = Instant::now();
    let method = method(request.method());
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let span = tracing::debug_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
        url.path = path,
    );
    let trace_id = trace::enter(request.headers_mut(), &span);

    let response = answer(request).instrument(span.clone()).await;

    let (status, took) = (response.status(), start.elapsed());
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    observed.metrics.observe(method, route, status.as_u16(), took);
    log(observed, method, &path, status, took.as_secs_f64(), &trace_id);
    response
}

fn log(
    observed: &RequestObserver,
    method: &str,
    path: &str,
    status: StatusCode,
    seconds: f64,
    trace_id: &str,
) {
    let RequestObserver { component, release, .. } = observed;
    let status = status.as_u16();
    tracing::info!(component, release, method, path, status, seconds, trace_id, "A request was answered.");
}

/// The methods of HTTP; whatever else somebody makes up is one word.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
