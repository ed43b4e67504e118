//! The cookies that the page sets.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use axum_extra::extract::cookie::{Cookie, SameSite};

/// A cookie of the whole site that no script sees, made once and set often.
#[derive(Debug)]
pub struct SetCookie {
    plain: HeaderValue,
    /// Sent over TLS only.
    secure: HeaderValue,
}

impl SetCookie {
    /// A cookie that a browser keeps for so many seconds; 0 takes it away.
    ///
    /// # Panics
    /// If the value has a character that no header may have.
    pub fn new(name: &'static str, value: &'static str, seconds: i64) -> Self {
        let header = |is_secure| {
            let cookie = Cookie::build((name, value))
                .path("/")
                .same_site(SameSite::Lax)
                .http_only(true)
                .secure(is_secure)
                .max_age(time::Duration::seconds(seconds));
            HeaderValue::from_str(&cookie.to_string()).expect("the value of a cookie of ours")
        };
        Self { plain: header(false), secure: header(true) }
    }

    /// Sets it. Behind TLS, as the `headers` of the request tell, it is secure.
    pub fn set(&self, response: &mut Response, headers: &HeaderMap) {
        // The proxy in front ends TLS and says so.
        let is_secure = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes() == b"https");
        let value = if is_secure { &self.secure } else { &self.plain };
        response.headers_mut().append(header::SET_COOKIE, value.clone());
    }
}
