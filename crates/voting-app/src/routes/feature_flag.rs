//! `POST /featureflag/set` and `/featureflag/clear`: the cookie that takes this browser to the newer release.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::cookie::{Cookie, SameSite};

use crate::App;
use crate::error::AppError;

/// For how long the flag stays on after the last page view.
const MINUTES: i64 = 15;

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
    let cookie = match action.as_str() {
        "set" => cookie("on", MINUTES * 60, &headers),
        "clear" => cookie("", 0, &headers),
        _ => return AppError::UnknownFlagAction.into_page(&app),
    };
    let mut response = Redirect::to("/").into_response();
    add(&mut response, &cookie);
    response
}

/// Lets the flag of a browser that uses it live on.
pub(super) fn refresh(headers: &HeaderMap, response: &mut Response) {
    add(response, &cookie("on", MINUTES * 60, headers));
}

fn cookie(value: &'static str, seconds: i64, headers: &HeaderMap) -> Cookie<'static> {
    // The proxy in front ends TLS and says so.
    let is_secure = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes() == b"https");
    let mut cookie = Cookie::new("featureflag", value);
    cookie.set_path("/");
    cookie.set_same_site(SameSite::Lax);
    cookie.set_http_only(true);
    cookie.set_secure(is_secure);
    cookie.set_max_age(time::Duration::seconds(seconds));
    cookie
}

fn add(response: &mut Response, cookie: &Cookie<'_>) {
    if let Ok(value) = HeaderValue::from_str(&cookie.to_string()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}
