//! What proxies say about the request that they received: `X-Forwarded-*`, and `Forwarded` (RFC 7239).
//!
//! Each proxy appends its own value, so the first one is the browser's. Any client can send these headers.

use axum::http::{HeaderMap, HeaderName, header};

static PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Whether the browser used TLS; `None` if no proxy says so.
pub fn is_https(headers: &HeaderMap) -> Option<bool> {
    let scheme = value(headers, &PROTO, "proto")?;
    if scheme.eq_ignore_ascii_case("https") {
        Some(true)
    } else if scheme.eq_ignore_ascii_case("http") {
        Some(false)
    } else {
        None
    }
}

/// The host that the browser requested, with its port unless that is the scheme's default.
pub fn host(headers: &HeaderMap) -> Option<String> {
    value(headers, &HOST, "host")
}

/// The path prefix that a proxy has removed.
pub fn prefix(headers: &HeaderMap) -> Option<String> {
    first(headers, &PREFIX).map(ToOwned::to_owned)
}

/// The first value of a header `X-Forwarded-*`, else of a parameter of `Forwarded`.
fn value(headers: &HeaderMap, name: &HeaderName, parameter: &str) -> Option<String> {
    if let Some(value) = first(headers, name) {
        return Some(value.to_owned());
    }
    parameter_of(headers.get(header::FORWARDED)?.to_str().ok()?, parameter)
}

fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()?.split(',').map(str::trim).find(|value| !value.is_empty())
}

fn parameter_of(elements: &str, name: &str) -> Option<String> {
    split_unquoted(elements, ',').into_iter().flat_map(|element| split_unquoted(element, ';')).find_map(
        |pair| {
            let (key, value) = pair.split_once('=')?;
            let value = value.trim();
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            (key.trim().eq_ignore_ascii_case(name) && !value.is_empty()).then(|| value.to_owned())
        },
    )
}

/// Splits a text at a separator outside of quoted strings.
fn split_unquoted(text: &str, separator: char) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(|character| {
        let was_escaped = is_escaped;
        is_escaped = is_quoted && !was_escaped && character == '\\';
        if character == '"' && !was_escaped {
            is_quoted = !is_quoted;
        }
        character == separator && !is_quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(values: &[(&'static str, &str)]) -> HeaderMap {
        let value = |value: &str| HeaderValue::from_str(value).unwrap();
        values.iter().map(|(name, text)| (HeaderName::from_static(name), value(text))).collect()
    }

    #[test]
    fn the_first_proxy_tells_the_scheme() {
        for (name, value, is_tls) in [
            ("x-forwarded-proto", "https", Some(true)),
            ("x-forwarded-proto", "HTTPS", Some(true)),
            ("x-forwarded-proto", "https,http", Some(true)),
            ("x-forwarded-proto", " https , http", Some(true)),
            ("x-forwarded-proto", "http, https", Some(false)),
            ("x-forwarded-proto", "", None),
            ("x-forwarded-proto", "httpsx", None),
            ("forwarded", "proto=https", Some(true)),
            ("forwarded", "for=192.0.2.1;Proto=\"HTTPS\";host=a, proto=http", Some(true)),
            ("forwarded", "for=\"[2001:db8::1]:4711\"; proto=http", Some(false)),
            ("forwarded", "for=\"a;proto=https\"", None),
            ("forwarded", "for=192.0.2.1", None),
        ] {
            assert_eq!(is_https(&headers(&[(name, value)])), is_tls, "{name}: {value}");
        }
        let both = headers(&[("x-forwarded-proto", "http"), ("forwarded", "proto=https")]);
        assert_eq!(is_https(&both), Some(false));
    }

    #[test]
    fn the_first_proxy_tells_the_host() {
        for (name, value, expected) in [
            ("x-forwarded-host", "vote.example:8443, inner", Some("vote.example:8443")),
            ("forwarded", "host=vote.example", Some("vote.example")),
            ("forwarded", "for=_a;host=\"[2001:db8::1]:8080\", host=inner", Some("[2001:db8::1]:8080")),
            ("forwarded", "for=\"x\\\";host=evil\"", None),
            ("x-forwarded-host", " ,", None),
        ] {
            assert_eq!(host(&headers(&[(name, value)])).as_deref(), expected, "{name}: {value}");
        }
    }

    proptest! {
        #[test]
        fn no_value_makes_the_parser_panic(text in "[ -~]{0,60}|(proto|host|=|\"|;|,|\\\\|https| ){0,20}") {
            let headers = headers(&[("forwarded", text.trim())]);
            let _ = (is_https(&headers), host(&headers));
        }
    }
}
