//! The result of a form, shown on the page after the redirect. A cookie carries it there.

use std::sync::LazyLock;

use axum::http::HeaderMap;
use axum::response::Response;
use voting_core::{Choice, Choices};
use voting_http::cookies::cookies;

use crate::base::Base;
use crate::cookie::SetCookie;

const COOKIE: &str = "notice";

/// Lifetime of the cookie, in seconds.
const MAX_AGE: i64 = 60;

static COOKIES: LazyLock<[SetCookie; 4]> =
    LazyLock::new(|| Notice::ALL.map(|notice| SetCookie::new(COOKIE, notice.value(), MAX_AGE)));
static NO_COOKIE: LazyLock<SetCookie> = LazyLock::new(|| SetCookie::new(COOKIE, "", 0));

/// The result of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The vote was counted.
    Counted(Choice),
    /// The ballot was counted before; nothing changed.
    AlreadyCounted,
    /// All votes were deleted.
    Reset,
}

impl Notice {
    const ALL: [Self; 4] =
        [Self::Counted(Choice::First), Self::Counted(Choice::Second), Self::AlreadyCounted, Self::Reset];

    fn value(self) -> &'static str {
        match self {
            Self::Counted(Choice::First) => "counted-1",
            Self::Counted(Choice::Second) => "counted-2",
            Self::AlreadyCounted => "already-counted",
            Self::Reset => "reset",
        }
    }

    /// The text on the page.
    pub fn text(self, choices: &Choices) -> String {
        match self {
            Self::Counted(choice) => format!("Your vote for {} was counted.", choices.name(choice)),
            Self::AlreadyCounted => {
                "Your vote was already counted. Sending it again has no effect.".to_owned()
            }
            Self::Reset => "All votes were deleted.".to_owned(),
        }
    }

    /// Sets the cookie in a response for the page at this address.
    pub fn set(self, response: &mut Response, base: &Base) {
        if let Some(index) = Self::ALL.iter().position(|notice| *notice == self) {
            COOKIES[index].set(response, base);
        }
    }

    /// The notice in the cookies of a request.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let values = cookies(headers).filter_map(|cookie| {
            let (name, value) = cookie.split_at_checked(COOKIE.len())?;
            (name == COOKIE.as_bytes()).then(|| value.strip_prefix(b"="))?
        });
        let value = values.last()?;
        Self::ALL.into_iter().find(|notice| notice.value().as_bytes() == value)
    }

    /// Deletes the cookie: the page shows a notice once.
    pub fn clear(response: &mut Response, base: &Base) {
        NO_COOKIE.set(response, base);
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    #[test]
    fn a_notice_is_read_beside_cookies_of_any_bytes() {
        for (cookies, notice) in [
            (&b"a=\xff; notice=already-counted"[..], Some(Notice::AlreadyCounted)),
            (b"notice=reset; notice=counted-2", Some(Notice::Counted(Choice::Second))),
            (b"xnotice=reset; noticex=reset; notice=", None),
            (b"notice", None),
        ] {
            let value = HeaderValue::from_bytes(cookies).unwrap();
            assert_eq!(Notice::read(&HeaderMap::from_iter([(header::COOKIE, value)])), notice);
        }
    }
}
