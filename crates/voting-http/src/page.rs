//! HTML as a response.

use std::fmt::Display;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

/// Allows the page's own files and forms; no inline code, no frames.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A rendered page as a response that no cache keeps: it is for one visitor, at one time.
pub fn respond<E: Display>(rendered: Result<String, E>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    match rendered {
        Ok(html) => (headers, html).into_response(),
        Err(error) => {
            tracing::error!(%error, "page rendering failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
