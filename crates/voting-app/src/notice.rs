//! What became of a form, told on the page that the redirect leads to: a cookie that lives until then.

use std::sync::LazyLock;

use axum::http::HeaderMap;
use axum::response::Response;
use axum_extra::extract::CookieJar;
use voting_core::{Choice, Choices};

use crate::cookie::SetCookie;

const COOKIE: &str = "notice";

/// For how long it waits for the page.
const SECONDS: i64 = 60;

static LEFT: LazyLock<[SetCookie; 4]> =
    LazyLock::new(|| Notice::ALL.map(|notice| SetCookie::new(COOKIE, notice.value(), SECONDS)));
static TAKEN: LazyLock<SetCookie> = LazyLock::new(|| SetCookie::new(COOKIE, "", 0));

/// What became of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The vote was counted.
    Counted(Choice),
    /// The ballot had been counted before, so nothing changed.
    AlreadyCounted,
    /// All votes were taken away.
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

    /// In words.
    pub fn text(self, choices: &Choices) -> String {
        match self {
            Self::Counted(choice) => format!("Your vote for {} is counted.", choices.name(choice)),
            Self::AlreadyCounted => {
                "That ballot was counted before. It counts once, however often it is sent.".to_owned()
            }
            Self::Reset => "All votes were taken away.".to_owned(),
        }
    }

    /// Lets the browser bring it to the page. `headers` are those of the request.
    pub fn leave(self, response: &mut Response, headers: &HeaderMap) {
        if let Some(place) = Self::ALL.iter().position(|notice| *notice == self) {
            LEFT[place].set(response, headers);
        }
    }

    /// What the browser brings, if it brings one of these.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let jar = CookieJar::from_headers(headers);
        let value = jar.get(COOKIE)?.value();
        Self::ALL.into_iter().find(|notice| notice.value() == value)
    }

    /// Takes it away: a page shows it once.
    pub fn clear(response: &mut Response, headers: &HeaderMap) {
        TAKEN.set(response, headers);
    }
}
