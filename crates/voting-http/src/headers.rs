//! The header that names the serving releases.

use axum::http::{HeaderName, HeaderValue};

/// Which releases served a response: `app=1.0, analytics=1.1, storage=1.0`.
pub static VOTING_PATH: HeaderName = HeaderName::from_static("x-voting-path");

/// The value of [`VOTING_PATH`] for these components and releases.
///
/// # Panics
/// Never: the parts come from the release table.
pub fn voting_path(parts: &[(&str, &str)]) -> HeaderValue {
    let path: Vec<_> = parts.iter().map(|(component, release)| format!("{component}={release}")).collect();
    HeaderValue::from_str(&path.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}
