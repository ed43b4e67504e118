//! Origins, and lists of them that the operator trusts.

use std::str::FromStr;

use url::{Origin, Url};

/// Origins whose forms are accepted besides the page's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedOrigins(Vec<Origin>);

/// A text is not a list of origins.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "is not a list of origins; allowed: http://HOST:PORT or https://HOST:PORT, separated by commas or spaces"
)]
pub struct InvalidOrigins;

impl FromStr for TrustedOrigins {
    type Err = InvalidOrigins;

    fn from_str(text: &str) -> Result<Self, InvalidOrigins> {
        let separators = |character: char| character == ',' || character.is_whitespace();
        let origins = text.split(separators).filter(|origin| !origin.is_empty());
        origins.map(|origin| parse(origin).ok_or(InvalidOrigins)).collect::<Result<_, _>>().map(Self)
    }
}

impl TrustedOrigins {
    /// Whether forms of this origin are accepted.
    pub fn contains(&self, origin: &Origin) -> bool {
        self.0.contains(origin)
    }
}

/// An origin in its normal form: lower case, without the scheme's default port.
pub fn parse(text: &str) -> Option<Origin> {
    let (scheme, host) = text.split_once("://")?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let host = host.strip_suffix('/').unwrap_or(host);
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    if !is_http || !host.bytes().all(is_host) {
        return None;
    }
    Some(Url::parse(text).ok()?.origin())
}
