//! `POST /featureflag/set` and `/featureflag/clear`: the cookie that takes this browser to the newer release.

use std::sync::LazyLock;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};

use crate::App;
use crate::cookie::SetCookie;
use crate::error::AppError;

const COOKIE: &str = "featureflag";

/// For how long the flag stays on after the last page view.
pub const MINUTES: i64 = 15;

static ON: LazyLock<SetCookie> = LazyLock::new(|| SetCookie::new(COOKIE, "on", MINUTES * 60));
static OFF: LazyLock<SetCookie> = LazyLock::new(|| SetCookie::new(COOKIE, "", 0));

/// Sets or clears the flag, then redirects to the page.
#[utoipa::path(
    post,
    path = "/featureflag/{action}",
    params(("action" = String, Path, description = "`set` or `clear`.", example = "set")),
    responses(
        (
            status = SEE_OTHER,
            description = "Done; the page comes next.",
            headers(
                ("location" = String, description = "The page."),
                ("set-cookie" = String, description = "`featureflag=on` for 15 minutes, or its end."),
            ),
        ),
        (status = NOT_FOUND, description = "No such action.", content_type = "text/html", body = String),
    ),
)]
pub(super) async fn change(
    State(app): State<App>,
    Path(action): Path<String>,
    headers: HeaderMap,
) -> Response {
    let mut response = Redirect::to("/").into_response();
    match action.as_str() {
        "set" => refresh(&headers, &mut response),
        "clear" => OFF.set(&mut response, &headers),
        _ => return AppError::UnknownFlagAction.into_page(&app),
    }
    response
}

/// Sets the flag, or lets that of a browser that uses it live on.
pub(super) fn refresh(headers: &HeaderMap, response: &mut Response) {
    ON.set(response, headers);
}
