//! How the page sets cookies.

use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum_extra::extract::cookie::{Cookie, SameSite};

use crate::base::Base;

/// A `Set-Cookie` header for the page and all below it, hidden from scripts.
#[derive(Debug)]
pub struct SetCookie {
    name: &'static str,
    value: &'static str,
    seconds: i64,
    /// For a page without a path prefix. Built once: building it takes longer than sending it.
    plain: HeaderValue,
    /// The same for TLS only.
    secure: HeaderValue,
}

impl SetCookie {
    /// A cookie that the browser keeps for this many seconds; 0 deletes it.
    ///
    /// # Panics
    /// If the value holds a character that is invalid in a header.
    pub fn new(name: &'static str, value: &'static str, seconds: i64) -> Self {
        let header = |is_secure| header(name, value, seconds, "/", is_secure);
        Self { name, value, seconds, plain: header(false), secure: header(true) }
    }

    /// Adds the cookie to a response for the page at this address; it is `Secure` over TLS.
    pub fn set(&self, response: &mut Response, base: &Base) {
        let Self { name, value, seconds, plain, secure } = self;
        let header = match (base.cookie_path(), base.is_https) {
            ("/", false) => plain.clone(),
            ("/", true) => secure.clone(),
            (path, is_https) => header(name, value, *seconds, path, is_https),
        };
        response.headers_mut().append(header::SET_COOKIE, header);
    }
}

fn header(name: &str, value: &str, seconds: i64, path: &str, is_secure: bool) -> HeaderValue {
    let cookie = Cookie::build((name, value))
        .path(path)
        .same_site(SameSite::Lax)
        .http_only(true)
        .secure(is_secure)
        .max_age(time::Duration::seconds(seconds));
    HeaderValue::from_str(&cookie.to_string()).expect("the cookie is a valid header")
}
