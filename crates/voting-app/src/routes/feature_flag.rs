//! `POST /featureflag/set` and `/featureflag/clear`: the toggle of the feature flag.

use axum::extract::{Path, Request};
use axum::response::{IntoResponse as _, Redirect, Response};

use crate::base::Base;
use crate::error::AppError;
use crate::feature_flag;

/// Sets or clears the flag, then redirects to the page.
pub(super) async fn change(Path(action): Path<String>, request: Request) -> Result<Response, AppError> {
    let base = Base::of(&request);
    let mut response = Redirect::to(&base.location()).into_response();
    match action.as_str() {
        "set" => feature_flag::set(&mut response, &base),
        "clear" => feature_flag::clear(&mut response, &base),
        _ => return Err(AppError::UnknownFlagAction),
    }
    Ok(response)
}
