//! Retries by proxies: Envoy, and the meshes built on it.

use http::{HeaderMap, HeaderName};

/// Marks a 503 that a proxy must not retry: the service has tried for as long as a request may take. Envoy sends a request
/// again after any other 503, if its route says so, and never after one with this header.
pub const FINAL: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// Whether a proxy has sent the request before.
pub fn is_repetition(headers: &HeaderMap) -> bool {
    headers.get("x-envoy-attempt-count").is_some_and(|attempt| attempt != "1")
}
