//! `GET /assets/VERSION/NAME`: the page's own files. The version is derived from the content, so browsers may keep
//! a file forever.

use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::assets;
use crate::error::AppError;

/// Serves a file.
pub(super) async fn serve(
    Path((requested, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, AppError> {
    Ok(assets::get(&name).ok_or(AppError::NotFound)?.respond(&requested, &headers))
}
