//! `GET /assets/VERSION/NAME`: the page's own files, compressed when the program was built. The version is made from
//! the content, so a browser may keep a file for ever, and both releases serve each the other's.

use std::sync::LazyLock;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use rust_embed_for_web::{EmbedableFile as _, EmbeddedFile, RustEmbed};

use crate::App;
use crate::error::AppError;

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Assets;

/// Where the style sheet is served.
pub static STYLE_URL: LazyLock<String> = LazyLock::new(|| url("voting.css"));
/// Where the icon is served.
pub static ICON_URL: LazyLock<String> = LazyLock::new(|| url("icon.svg"));
/// Where the script is served that shows the votes live.
pub static SCRIPT_URL: LazyLock<String> = LazyLock::new(|| url("voting.js"));

/// Where a file of the page is served; empty if there is none of this name.
fn url(name: &str) -> String {
    Assets::get(name).map(|file| format!("/assets/{}/{name}", version(&file))).unwrap_or_default()
}

/// The start of the content's SHA-256: of its base 85 the characters that a URL may hold.
fn version(file: &EmbeddedFile) -> String {
    file.hash().chars().filter(char::is_ascii_alphanumeric).take(16).collect()
}

/// A file. One of another version than this is found too, so that a page that was served by an older or newer pod
/// is not left without its style; it is not kept then.
pub(super) async fn serve(
    State(app): State<App>,
    Path((asked, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let Some(file) = Assets::get(&name) else {
        return AppError::NotFound.into_page(&app);
    };
    let content_type = match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    let cache = if asked == version(&file) { "public, max-age=31536000, immutable" } else { "no-store" };
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
    response
}

/// The smallest form of a file that the client takes.
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

/// Whether a request names this content coding and does not refuse it with `q=0`.
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
    fn every_file_that_the_page_names_is_there() {
        for (url, end) in [(&STYLE_URL, "/voting.css"), (&ICON_URL, "/icon.svg"), (&SCRIPT_URL, "/voting.js")]
        {
            let version = url.strip_prefix("/assets/").and_then(|url| url.strip_suffix(end));
            assert_eq!(version.map(str::len), Some(16), "{}", **url);
        }
    }

    #[test]
    fn a_client_gets_the_smallest_form_that_it_takes() {
        let file = Assets::get("voting.css").unwrap();
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
