//! The headers that name the serving releases and carry a trace onwards.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Which releases served a response: `app=1.0, analytics=1.1, storage=1.0`.
pub static VOTING_PATH: HeaderName = HeaderName::from_static("x-voting-path");

/// The headers of a trace, in the forms that Istio and its back ends use: W3C, B3 (several headers and one), and the
/// id that Envoy gives a request.
static TRACE: [HeaderName; 10] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
    HeaderName::from_static("b3"),
    HeaderName::from_static("x-b3-traceid"),
    HeaderName::from_static("x-b3-spanid"),
    HeaderName::from_static("x-b3-parentspanid"),
    HeaderName::from_static("x-b3-sampled"),
    HeaderName::from_static("x-b3-flags"),
    HeaderName::from_static("x-request-id"),
];

/// The trace headers among these, to be sent on with a call upstream.
pub fn trace(headers: &HeaderMap) -> HeaderMap {
    let found = |name: &HeaderName| Some((name.clone(), headers.get(name)?.clone()));
    TRACE.iter().filter_map(found).collect()
}

/// The value of [`VOTING_PATH`] for these components and releases.
///
/// # Panics
/// Never: the parts come from the release table.
pub fn voting_path(parts: &[(&str, &str)]) -> HeaderValue {
    let path: Vec<_> = parts.iter().map(|(component, release)| format!("{component}={release}")).collect();
    HeaderValue::from_str(&path.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}
