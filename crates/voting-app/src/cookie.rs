//! How the page sets cookies.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use axum_extra::extract::cookie::{Cookie, SameSite};
use voting_http::forwarded;

/// A `Set-Cookie` header for the whole site, hidden from scripts. Built once: building it takes longer than sending it.
#[derive(Debug)]
pub struct SetCookie {
    plain: HeaderValue,
    /// For TLS only.
    secure: HeaderValue,
}

impl SetCookie {
    /// A cookie that the browser keeps for this many seconds; 0 deletes it.
    ///
    /// # Panics
    /// If the value holds a character that is invalid in a header.
    pub fn new(name: &'static str, value: &'static str, seconds: i64) -> Self {
        let header = |is_secure| {
            let cookie = Cookie::build((name, value))
                .path("/")
                .same_site(SameSite::Lax)
                .http_only(true)
                .secure(is_secure)
                .max_age(time::Duration::seconds(seconds));
            HeaderValue::from_str(&cookie.to_string()).expect("the cookie is a valid header")
        };
        Self { plain: header(false), secure: header(true) }
    }

    /// Adds the cookie to the response to a request with these headers; it is `Secure` if the request came over TLS.
    pub fn set(&self, response: &mut Response, headers: &HeaderMap) {
        // The proxy in front terminates TLS.
        let is_secure = forwarded::is_https(headers).unwrap_or_default();
        let value = if is_secure { &self.secure } else { &self.plain };
        response.headers_mut().append(header::SET_COOKIE, value.clone());
    }
}
