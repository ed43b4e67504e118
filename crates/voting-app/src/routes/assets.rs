//! `GET /assets/VERSION/NAME`: the page's own files. The version is made from the content, so a browser may keep a
//! file for ever, and both releases serve each the other's.

use std::sync::LazyLock;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::App;
use crate::error::AppError;

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Assets;

/// Where the style sheet is served.
pub static STYLE_URL: LazyLock<String> = LazyLock::new(|| url("voting.css"));
/// Where the icon is served.
pub static ICON_URL: LazyLock<String> = LazyLock::new(|| url("icon.svg"));
/// Where the script is served that shows results live.
pub static SCRIPT_URL: LazyLock<String> = LazyLock::new(|| url("voting.js"));

/// Where a file of the page is served; empty if there is none of this name.
fn url(name: &str) -> String {
    Assets::get(name).map(|file| format!("/assets/{}/{name}", version(&file))).unwrap_or_default()
}

/// The start of the content's SHA-256, in hexadecimal.
fn version(file: &EmbeddedFile) -> String {
    file.metadata.sha256_hash()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file. One of another version than this is found too, so that a page that was served by an older or newer pod
/// is not left without its style; it is not kept then.
pub(super) async fn serve(State(app): State<App>, Path((asked, name)): Path<(String, String)>) -> Response {
    let Some(file) = Assets::get(&name) else {
        return AppError::NotFound.into_page(&app);
    };
    let content_type = match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    let cache = if asked == version(&file) { "public, max-age=31536000, immutable" } else { "no-store" };
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, cache)], file.data).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_names_is_there() {
        assert!(STYLE_URL.ends_with("/voting.css"));
        assert!(ICON_URL.ends_with("/icon.svg"));
        assert!(SCRIPT_URL.ends_with("/voting.js"));
    }
}
