//! `GET /assets/VERSION/NAME`: the page's own files. The version is derived from the content, so browsers may keep
//! a file forever.

use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use rust_embed_for_web::{EmbedableFile as _, EmbeddedFile};

use crate::assets;
use crate::error::AppError;

/// Serves a file whatever its version, so that a page of an older or newer pod is not left without its style. Only the
/// requested version may be cached.
pub(super) async fn serve(
    Path((requested, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, AppError> {
    let file = assets::get(&name).ok_or(AppError::NotFound)?;
    let content_type = match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    let cache =
        if requested == assets::version(&file) { "public, max-age=31536000, immutable" } else { "no-store" };
    let (coding, data) = best_coding(&file, &headers);
    let mut response = (
        [
            (header::CONTENT_TYPE, content_type),
            (header::CACHE_CONTROL, cache),
            (header::VARY, "accept-encoding"),
        ],
        data,
    )
        .into_response();
    if let Some(coding) = coding {
        response.headers_mut().insert(header::CONTENT_ENCODING, header::HeaderValue::from_static(coding));
    }
    Ok(response)
}

/// The most compressed form of a file that the client accepts.
fn best_coding(file: &EmbeddedFile, headers: &HeaderMap) -> (Option<&'static str>, &'static [u8]) {
    for (coding, data) in [("br", file.data_br()), ("gzip", file.data_gzip())] {
        if let Some(data) = data
            && accepts(headers, coding)
        {
            return (Some(coding), data);
        }
    }
    (None, file.data())
}

/// Whether a request accepts this content coding: named, and not excluded by `q=0`.
fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|entry| {
            let (name, weight) = entry.split_once(';').unwrap_or((entry, ""));
            let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
            name.trim().eq_ignore_ascii_case(coding) && weight != Some(0.0)
        })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_client_gets_the_most_compressed_form_that_it_accepts() {
        let file = assets::get("voting.css").unwrap();
        for (accepted, coding) in [
            ("gzip, deflate, br, zstd", Some("br")),
            ("gzip;q=1.0, br;q=0.5", Some("br")),
            ("GZIP", Some("gzip")),
            ("br;q=0, gzip", Some("gzip")),
            ("br; q=0.0,gzip;q=0", None),
            ("brotli, x-gzip", None),
            ("identity", None),
            ("", None),
        ] {
            let headers =
                HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted))]);
            assert_eq!(best_coding(&file, &headers).0, coding, "{accepted}");
        }
        assert_eq!(best_coding(&file, &HeaderMap::new()), (None, file.data()));
    }
}
