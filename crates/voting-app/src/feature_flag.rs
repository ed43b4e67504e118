//! The feature-flag cookie, which moves a browser to the newer release.

use std::sync::LazyLock;

use axum::response::Response;
pub use voting_http::feature_flag::is_on;

use crate::base::Base;
use crate::cookie::SetCookie;

const COOKIE: &str = "featureflag";

/// How long the flag stays on after the last page view.
pub const MINUTES: i64 = 15;

static ON: LazyLock<SetCookie> = LazyLock::new(|| SetCookie::new(COOKIE, "on", MINUTES * 60));
static OFF: LazyLock<SetCookie> = LazyLock::new(|| SetCookie::new(COOKIE, "", 0));

/// Turns the flag on, or extends it, in a response for the page at this address.
pub fn set(response: &mut Response, base: &Base) {
    ON.set(response, base);
}

/// Turns the flag off in a response for the page at this address.
pub fn clear(response: &mut Response, base: &Base) {
    OFF.set(response, base);
}
