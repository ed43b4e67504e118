//! The page's address in the browser, as far as proxies tell: under a path prefix, over TLS.
//!
//! A proxy may serve the page under a prefix (`/poll/`), which it removes. Links are relative, so they hold without a word
//! from the proxy. Redirects and cookies use the prefix where a proxy names it: in `X-Forwarded-Prefix`, or, as Envoy and
//! Istio do for rewritten paths, in `x-envoy-original-path`.

use std::borrow::Cow;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, header};
use voting_http::forwarded;

/// The most segments of a path whose links are relative.
const MAX_DEPTH: usize = 16;

static ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

/// The page's address in the browser that sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Without a trailing slash; `None` if no proxy names one.
    prefix: Option<String>,
    /// From the requested path to the page.
    relative: Cow<'static, str>,
    is_browser: bool,
    /// The browser used TLS.
    pub is_https: bool,
}

impl Base {
    /// The address for this request.
    pub fn of(request: &Request) -> Self {
        let (path, headers) = (request.uri().path(), request.headers());
        Self {
            prefix: prefix(path, headers),
            relative: relative(path),
            is_browser: headers.contains_key(header::ORIGIN),
            is_https: forwarded::is_https(headers).unwrap_or_default(),
        }
    }

    /// What the links of the response begin with.
    pub fn root(&self) -> String {
        self.prefix.as_ref().map_or_else(|| self.relative.to_string(), |prefix| format!("{prefix}/"))
    }

    /// Where the response redirects to: the page. Without a prefix, it is relative for browsers alone; other programs compare
    /// it with `/`.
    pub fn location(&self) -> String {
        if self.prefix.is_none() && !self.is_browser { "/".to_owned() } else { self.root() }
    }

    /// The path of cookies. Browsers send them with this path and with all paths below it.
    pub fn cookie_path(&self) -> &str {
        self.prefix.as_deref().unwrap_or("/")
    }
}

/// The path from this one up to the page.
fn relative(path: &str) -> Cow<'static, str> {
    match path.bytes().filter(|byte| *byte == b'/').count() {
        0 | 1 => "./".into(),
        slashes if slashes <= MAX_DEPTH => "../".repeat(slashes - 1).into(),
        _ => "/".into(),
    }
}

fn prefix(path: &str, headers: &HeaderMap) -> Option<String> {
    if let Some(prefix) = forwarded::prefix(headers) {
        return valid(&prefix);
    }
    let original = headers.get(&ORIGINAL_PATH)?.to_str().ok()?;
    let original = original.split('?').next().unwrap_or_default();
    // The page itself may be requested without its slash.
    let is_page = path == "/" && !original.ends_with('/');
    valid(if is_page { original } else { original.strip_suffix(path)? })
}

/// A prefix that is a path of this host: a redirect must not lead to another one.
fn valid(prefix: &str) -> Option<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    let segments = prefix.strip_prefix('/')?;
    let segments = segments.strip_suffix('/').unwrap_or(segments);
    let is_segment =
        |text: &str| !text.is_empty() && text != "." && text != ".." && text.bytes().all(is_allowed);
    let is_valid = prefix.len() <= 256 && segments.split('/').all(is_segment);
    is_valid.then(|| format!("/{segments}"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use proptest::prelude::*;

    use super::*;

    fn base(path: &str, headers: &[(&str, &str)]) -> Base {
        let request =
            headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        Base::of(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn links_are_relative_and_lead_to_the_page() {
        for (path, root) in [
            ("/", "./"),
            ("/?a=/b/c", "./"),
            ("/events", "./"),
            ("/featureflag/set", "../"),
            ("/a/b/c/d", "../../../"),
            ("/////////////////////", "/"),
        ] {
            let base = base(path, &[]);
            assert_eq!(
                (base.root().as_str(), base.location().as_str(), base.cookie_path()),
                (root, "/", "/"),
                "{path}"
            );
        }
        assert_eq!(base("/featureflag/set", &[("origin", "http://a.example")]).location(), "../");
    }

    #[test]
    fn a_prefix_is_what_a_proxy_says_or_has_cut_off() {
        for (path, name, value, prefix) in [
            ("/", "x-forwarded-prefix", "/poll", "/poll"),
            ("/events", "x-forwarded-prefix", "/poll/", "/poll"),
            ("/", "x-forwarded-prefix", "/a/b, /c", "/a/b"),
            ("/", "x-envoy-original-path", "/poll/", "/poll"),
            ("/", "x-envoy-original-path", "/poll", "/poll"),
            ("/", "x-envoy-original-path", "/poll/?q=/", "/poll"),
            ("/featureflag/set", "x-envoy-original-path", "/a/poll/featureflag/set", "/a/poll"),
        ] {
            let base = base(path, &[(name, value)]);
            let root = format!("{prefix}/");
            assert_eq!(
                (base.root(), base.location(), base.cookie_path()),
                (root.clone(), root, prefix),
                "{value}"
            );
        }
    }

    #[test]
    fn no_header_makes_a_redirect_lead_to_another_site() {
        for value in [
            "",
            "/",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "evil",
            "/../..",
            "/./a",
            "/a//b",
            "/a;b=c",
            "/a b",
            "/a\"b",
        ] {
            assert_eq!(base("/", &[("x-forwarded-prefix", value)]).location(), "/", "{value}");
        }
        for original in ["/", "/events", "//evil.example/", "/other"] {
            assert_eq!(base("/events", &[("x-envoy-original-path", original)]).location(), "/", "{original}");
        }
    }

    proptest! {
        #[test]
        fn a_prefix_is_a_path_of_this_host(name in "x-(forwarded-prefix|envoy-original-path)", value in "[/\\\\.a-z:%?]{0,12}") {
            let location = base("/", &[(&name, &value)]).location();
            prop_assert!(location.starts_with('/') && !location.starts_with("//") && !location.contains('\\'), "{}", location);
        }
    }
}
