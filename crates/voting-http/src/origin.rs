//! Protection against forms of other sites, which a browser would send with the cookies of this one.
//!
//! Browsers say in `Sec-Fetch-Site` whether a form is the page's own, but only over TLS and on localhost. Elsewhere its
//! `Origin` must be the host that was requested. A proxy that replaces the host must pass it on, or its origin must be
//! trusted.

use axum::extract::Request;
use axum::http::{Method, header};
use url::Origin;

use crate::config::ProxyArgs;
use crate::forwarded;
use crate::trusted_origins::parse;

/// The most characters of a header on a page or in a log line.
const MAX_SHOWN: usize = 200;

/// A form of another site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignOrigin {
    /// Where the form is from.
    pub origin: String,
    /// The host that was requested, as far as the service knows.
    pub host: String,
}

/// Checks that a request which changes something is from the page itself, a trusted origin or a program other than a
/// browser.
///
/// # Errors
/// [`ForeignOrigin`]: a browser sent it for another site.
pub fn check(request: &Request, proxy: &ProxyArgs) -> Result<(), ForeignOrigin> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let headers = request.headers();
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("(unprintable)"));
    let site = text("sec-fetch-site").filter(|site| !site.is_empty());
    let origin = text("origin").filter(|origin| !origin.is_empty());
    if matches!(site, Some("same-origin" | "none")) || (site.is_none() && origin.is_none()) {
        return Ok(());
    }
    // What the proxy says of the page's address, if it is trusted.
    let (forwarded, is_https) = if proxy.trust_forwarded_host {
        (forwarded::host(headers), forwarded::is_https(headers))
    } else {
        (None, None)
    };
    let authority = request.uri().authority().map(ToString::to_string);
    let host = authority.or_else(|| text(header::HOST.as_str()).map(ToOwned::to_owned));
    if let Some(origin) = origin.and_then(parse) {
        // Otherwise the browser has decided already.
        let is_own = site.is_none() && own(&origin, is_https, [&forwarded, &host]).contains(&origin);
        if is_own || proxy.trusted_origins.contains(&origin) {
            return Ok(());
        }
    }
    let shown = |text: &str| text.chars().take(MAX_SHOWN).collect();
    Err(ForeignOrigin {
        origin: origin.map_or_else(|| "an unknown origin".to_owned(), shown),
        host: forwarded.or(host).as_deref().map_or_else(|| "an unknown host".to_owned(), shown),
    })
}

/// The origins at which the page may be. Without a proxy's word on it, the scheme is taken from the form's origin.
fn own(origin: &Origin, is_https: Option<bool>, hosts: [&Option<String>; 2]) -> Vec<Origin> {
    let scheme = match (is_https, origin) {
        (Some(true), _) => "https",
        (Some(false), _) => "http",
        (None, Origin::Tuple(scheme, ..)) => scheme,
        (None, Origin::Opaque(_)) => return Vec::new(),
    };
    hosts.into_iter().flatten().filter_map(|host| parse(&format!("{scheme}://{host}"))).collect()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use proptest::prelude::*;

    use super::*;
    use crate::trusted_origins::TrustedOrigins;

    fn is_accepted(headers: &[(&str, &str)], proxy: &ProxyArgs) -> bool {
        let request =
            headers.iter().fold(Request::post("/"), |request, (name, value)| request.header(*name, *value));
        check(&request.body(Body::empty()).unwrap(), proxy).is_ok()
    }

    fn trusting(origins: &str, trust_forwarded_host: bool) -> ProxyArgs {
        ProxyArgs { trusted_origins: origins.parse().unwrap(), trust_forwarded_host, ..ProxyArgs::default() }
    }

    #[test]
    fn an_origin_is_its_host_whatever_its_case_and_default_port() {
        for (origin, host, is_own) in [
            ("http://vote.example", "vote.example", true),
            ("http://vote.example", "Vote.Example:80", true),
            ("https://vote.example", "vote.example:443", true),
            ("http://vote.example:8080", "vote.example:8080", true),
            ("HTTP://VOTE.example", "vote.example", true),
            ("http://[2001:db8::1]:8080", "[2001:DB8:0::1]:8080", true),
            ("http://vote.example:8080", "vote.example", false),
            ("http://vote.example", "vote.example:8080", false),
            ("https://vote.example", "vote.example:80", false),
            ("http://evil.example", "vote.example", false),
            ("http://vote.example.evil.example", "vote.example", false),
            ("null", "vote.example", false),
            ("http://", "", false),
            ("ftp://vote.example", "vote.example", false),
            ("http://vote.example/x", "vote.example", false),
            ("http://user@vote.example", "vote.example", false),
            ("http://vote.example", "user@vote.example", false),
        ] {
            assert_eq!(
                is_accepted(&[("origin", origin), ("host", host)], &ProxyArgs::default()),
                is_own,
                "{origin} {host}"
            );
        }
    }

    #[test]
    fn the_browsers_own_verdict_counts_more_than_the_host() {
        for (site, is_accepted_by_it) in
            [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false)]
        {
            let headers =
                [("origin", "http://vote.example"), ("host", "vote.example"), ("sec-fetch-site", site)];
            assert_eq!(is_accepted(&headers, &ProxyArgs::default()), is_accepted_by_it, "{site}");
            assert!(is_accepted(&headers, &trusting("http://vote.example", false)), "{site}");
        }
        assert!(is_accepted(&[("host", "vote.example")], &ProxyArgs::default()), "curl");
        assert!(!is_accepted(&[("sec-fetch-site", "cross-site")], &trusting("http://vote.example", true)));
    }

    #[test]
    fn the_forwarded_host_counts_if_it_is_trusted() {
        let origin = ("origin", "https://vote.example");
        for forwarded in [
            &[("x-forwarded-host", "vote.example"), ("x-forwarded-proto", "https")][..],
            &[("x-forwarded-host", "VOTE.example:443, inner:80"), ("x-forwarded-proto", "https,http")],
            &[("forwarded", "for=192.0.2.1;host=\"vote.example:443\";proto=https")],
            &[("x-forwarded-host", "vote.example")],
        ] {
            let headers = [&[origin, ("host", "voting_app")], forwarded].concat();
            assert!(is_accepted(&headers, &trusting("", true)), "{forwarded:?}");
            assert!(!is_accepted(&headers, &ProxyArgs::default()), "{forwarded:?}");
        }
        for forwarded in [
            &[("x-forwarded-host", "other.example")][..],
            &[("x-forwarded-host", "vote.example:8443")],
            &[("x-forwarded-host", "vote.example"), ("x-forwarded-proto", "http")],
            &[("x-forwarded-proto", "https")],
        ] {
            let headers = [&[origin, ("host", "voting-app")], forwarded].concat();
            assert!(!is_accepted(&headers, &trusting("", true)), "{forwarded:?}");
        }
    }

    #[test]
    fn trusted_origins_are_compared_in_their_normal_form() {
        let proxy = trusting("https://Vote.example:443/, http://[::1]:9000", false);
        for origin in ["https://vote.example", "http://[0::1]:9000"] {
            assert!(is_accepted(&[("origin", origin), ("host", "voting-app")], &proxy), "{origin}");
        }
        for origin in ["http://vote.example", "https://vote.example:8443", "http://[::1]"] {
            assert!(!is_accepted(&[("origin", origin), ("host", "voting-app")], &proxy), "{origin}");
        }
        for text in ["vote.example", "https://a/path", "*", "https://*", "null", "https://", "ftp://a"] {
            assert!(text.parse::<TrustedOrigins>().is_err(), "{text}");
        }
        assert_eq!("".parse::<TrustedOrigins>().unwrap(), TrustedOrigins::default());
    }

    proptest! {
        #[test]
        fn another_host_is_never_the_pages_own(
            origin in "https?://[a-z]{1,5}(:[0-9]{1,5})?|[ -~]{0,20}",
            forwarded in "[ -~]{0,20}",
        ) {
            let is_own = origin.split("://").nth(1).is_some_and(|host| host.starts_with("vote.example"));
            let headers = [("origin", origin.trim()), ("host", "vote.example"), ("forwarded", forwarded.trim())];
            prop_assert!(is_own || origin.trim().is_empty() || !is_accepted(&headers, &ProxyArgs::default()));
        }
    }
}
