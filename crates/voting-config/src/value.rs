//! Parsers of values, whose errors say what is allowed.

use std::borrow::Cow;
use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::builder::{StringValueParser, TypedValueParser};
use url::{Host, Url};
use voting_storage::{MAX_HOST, MYSQL_SSL_MODES, is_unspecified};

/// Parses a port to connect to.
pub fn port() -> impl TypedValueParser<Value = u16> {
    port_in(1..=u16::MAX)
}

/// Parses a port to listen on; 0 selects a free one.
pub fn listen_port() -> impl TypedValueParser<Value = u16> {
    port_in(0..=u16::MAX)
}

fn port_in(allowed: RangeInclusive<u16>) -> impl TypedValueParser<Value = u16> {
    StringValueParser::new().try_map(move |text| {
        number_in(&text, &allowed).ok_or_else(|| {
            format!("is not a port; allowed: a number from {} to {}", allowed.start(), allowed.end())
        })
    })
}

/// Parses a whole number in a range.
pub fn number<N>(allowed: RangeInclusive<N>) -> impl TypedValueParser<Value = N>
where
    N: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    StringValueParser::new().try_map(move |text| {
        number_in(&text, &allowed).ok_or_else(|| {
            format!("is not allowed; allowed: a whole number from {} to {}", allowed.start(), allowed.end())
        })
    })
}

fn number_in<N: FromStr + PartialOrd>(text: &str, allowed: &RangeInclusive<N>) -> Option<N> {
    text.parse().ok().filter(|number| allowed.contains(number))
}

/// Parses an IP address; one of IPv6 may stand in brackets.
pub fn address() -> impl TypedValueParser<Value = IpAddr> {
    StringValueParser::new().try_map(|text| {
        unbracketed(&text).parse::<IpAddr>().map_err(|_| {
            "is not an IP address; allowed: one of IPv4 or IPv6, such as 127.0.0.1 or ::1; 0.0.0.0 or :: for all"
        })
    })
}

/// Whether a URL has a user or a password, which would appear in logs.
pub fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Parses the host of a server; an address of IPv6 may stand in brackets.
pub fn host() -> impl TypedValueParser<Value = String> {
    const ALLOWED: &str = "allowed: a host name or an IP address, without a port";
    StringValueParser::new().try_map(|text| {
        if text.len() > MAX_HOST {
            return Err(format!("is too long for a host; {ALLOWED}, of up to {MAX_HOST} characters"));
        }
        if unbracketed(&text).parse::<IpAddr>().is_err() && Host::parse(&text).is_err() {
            return Err(format!("is not a host; {ALLOWED}"));
        }
        if is_unspecified(&text) {
            return Err(format!("is an address to listen on, not to connect to; {ALLOWED}"));
        }
        Ok(text)
    })
}

/// A host as a URL has it: an IPv6 address stands in brackets.
pub fn url_host(host: &str) -> Cow<'_, str> {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]").into() } else { host.into() }
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .filter(|text| text.contains(':'))
        .unwrap_or(text)
}

/// Parses a boolean; an empty value is false, as in azure-vote.
pub fn switch() -> impl TypedValueParser<Value = bool> {
    StringValueParser::new().try_map(|text| match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err("is not a boolean; allowed: true, false"),
    })
}

/// Parses the name of a database. As the last part of a URL's path, `.` and `..` have another meaning.
pub(crate) fn database() -> impl TypedValueParser<Value = String> {
    StringValueParser::new().try_map(|text| {
        if ["", ".", ".."].contains(&text.trim_matches('/')) || text.chars().count() > 64 {
            return Err(
                "is not the name of a database; allowed: the name of an existing one, of up to 64 characters",
            );
        }
        Ok(text)
    })
}

/// Parses MySQL's `ssl-mode`.
pub(crate) fn mysql_ssl_mode() -> impl TypedValueParser<Value = String> {
    StringValueParser::new().try_map(|text| {
        let mode = text.to_ascii_uppercase();
        if MYSQL_SSL_MODES.contains(&mode.as_str()) {
            Ok(mode)
        } else {
            Err(format!("is not a mode of TLS; allowed: {}", MYSQL_SSL_MODES.join(", ")))
        }
    })
}
