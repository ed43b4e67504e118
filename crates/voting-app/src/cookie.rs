//! The cookies that the page sets.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use axum_extra::extract::cookie::{Cookie, SameSite};

/// Sets a cookie of the whole site for this browser, which keeps it for so many seconds; 0 takes it away. No script
/// sees it. Behind TLS, as the `headers` of the request tell, it is sent over TLS only.
pub fn set(
    response: &mut Response,
    headers: &HeaderMap,
    name: &'static str,
    value: &'static str,
    seconds: i64,
) {
    // The proxy in front ends TLS and says so.
    let is_secure = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes() == b"https");
    let mut cookie = Cookie::new(name, value);
    cookie.set_path("/");
    cookie.set_same_site(SameSite::Lax);
    cookie.set_http_only(true);
    cookie.set_secure(is_secure);
    cookie.set_max_age(time::Duration::seconds(seconds));
    if let Ok(value) = HeaderValue::from_str(&cookie.to_string()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}
