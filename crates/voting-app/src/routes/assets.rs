//! `GET /assets/VERSION/NAME`: the page's own files. The version is derived from the content, so browsers may keep
//! a file forever.

use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};

use crate::assets;
use crate::error::AppError;

/// Serves a file whatever its version, so that a page of an older or newer pod is not left without its style. Only the
/// requested version may be cached.
pub(super) async fn serve(
    Path((requested, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, AppError> {
    let asset = assets::get(&name).ok_or(AppError::NotFound)?;
    let cache = if requested == asset.version { "public, max-age=31536000, immutable" } else { "no-store" };
    let meta = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, cache),
        (header::VARY, "accept-encoding"),
    ];
    if accepts_gzip(&headers) {
        return Ok((meta, [(header::CONTENT_ENCODING, "gzip")], &*asset.gzip).into_response());
    }
    Ok((meta, asset.data).into_response())
}

/// Whether a request accepts gzip: named, and not excluded by `q=0`.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|entry| {
            let (name, weight) = entry.split_once(';').unwrap_or((entry, ""));
            let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
            name.trim().eq_ignore_ascii_case("gzip") && weight != Some(0.0)
        })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_client_that_accepts_gzip_gets_it() {
        for (accepted, is_accepted) in [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, gzip;q=0.5", true),
            ("GZIP", true),
            ("br, gzip;q=0", false),
            ("br,gzip; q=0.0", false),
            ("brotli, x-gzip", false),
            ("identity", false),
            ("", false),
        ] {
            let headers =
                HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted))]);
            assert_eq!(accepts_gzip(&headers), is_accepted, "{accepted}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
