//! Observation of each request: metrics, one log line, a span of its trace.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use prometheus_client::registry::Registry;
use tracing::{Instrument as _, field};

use crate::metrics::{HttpMetrics, registry};
use crate::trace;

/// Observes the requests of one release of a component.
#[derive(Clone, Debug)]
pub struct RequestObserver {
    component: &'static str,
    release: &'static str,
    metrics: HttpMetrics,
}

impl RequestObserver {
    /// An observer and the registry of its metrics, in which the component registers its own.
    pub fn register(component: &'static str, release: &'static str) -> (Self, Registry) {
        let mut registry = registry(component, release);
        let metrics = HttpMetrics::register(&mut registry);
        (Self { component, release, metrics }, registry)
    }
}

/// Observes the handling of a request. Metrics and spans are labeled with its route, not its path, of which clients could
/// make up any number.
pub(crate) async fn observe(
    observer: &RequestObserver,
    mut request: Request,
    handle: impl AsyncFnOnce(Request) -> Response,
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

    let response = handle(request).instrument(span.clone()).await;

    let (status, duration) = (response.status(), start.elapsed());
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    observer.metrics.observe(method, route, status.as_u16(), duration);
    log(observer, method, &path, status, duration.as_secs_f64(), &trace_id);
    response
}

fn log(
    observer: &RequestObserver,
    method: &str,
    path: &str,
    status: StatusCode,
    seconds: f64,
    trace_id: &str,
) {
    let RequestObserver { component, release, .. } = observer;
    let status = status.as_u16();
    tracing::info!(component, release, method, path, status, seconds, trace_id, "request completed");
}

/// The request's method, or `other`: clients could make up any number of methods.
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
