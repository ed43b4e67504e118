//! `POST /featureflag/set` and `/featureflag/clear`: the toggle of the feature flag.

use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Redirect, Response};

use crate::error::AppError;
use crate::feature_flag;

/// Sets or clears the flag, then redirects to the page.
pub(super) async fn change(Path(action): Path<String>, headers: HeaderMap) -> Result<Response, AppError> {
    let mut response = Redirect::to("/").into_response();
    match action.as_str() {
        "set" => feature_flag::set(&mut response, &headers),
        "clear" => feature_flag::clear(&mut response, &headers),
        _ => return Err(AppError::UnknownFlagAction),
    }
    Ok(response)
}
