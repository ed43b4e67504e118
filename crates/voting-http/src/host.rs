//! The hosts that a port on this machine answers to.
//!
//! A web page can point a name of its own at 127.0.0.1 (DNS rebinding). The browser then takes the port for a part of
//! that page's site, so no check of the origin helps. But it sends the name in the header `Host`.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};

/// The hosts of a port that listens on this machine: loopback addresses, `localhost`, and further names.
#[derive(Clone, Debug)]
pub struct LocalHosts {
    names: Arc<[HostName]>,
    /// Other addresses are those of the machine. A name is needed for rebinding, so they are safe.
    has_addresses: bool,
}

/// The name of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

/// A text is not the name of a host.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("is not the name of a host; allowed: names without a port, separated by commas")]
pub struct InvalidHostName;

impl FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, InvalidHostName> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let name = normalized(text.trim());
        if name.is_empty() || !name.bytes().all(is_allowed) { Err(InvalidHostName) } else { Ok(Self(name)) }
    }
}

impl LocalHosts {
    /// The hosts of a port that listens on this address.
    pub fn of(address: IpAddr, names: impl IntoIterator<Item = HostName>) -> Self {
        Self { names: names.into_iter().collect(), has_addresses: !address.is_loopback() }
    }

    /// These routes for requests that name one of the hosts; any other request is answered with 421.
    pub fn guard(self, routes: Router) -> Router {
        let check = move |request: Request, next: Next| {
            let checked = self.check(&request);
            async move {
                match checked {
                    Ok(()) => next.run(request).await,
                    Err(host) => rejection(&host),
                }
            }
        };
        routes.layer(middleware::from_fn(check))
    }

    /// The host of the request, if it is none of these.
    fn check(&self, request: &Request) -> Result<(), String> {
        let hosts = requested(request.uri(), request.headers());
        if hosts.is_empty() {
            return Err(String::new());
        }
        hosts.into_iter().find(|host| !self.contains(host)).map_or(Ok(()), Err)
    }

    fn contains(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let host = normalized(authority.host());
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        match address.parse::<IpAddr>() {
            Ok(address) => self.has_addresses || address.to_canonical().is_loopback(),
            Err(_) => host == "localhost" || self.names.iter().any(|name| name.0 == host),
        }
    }
}

/// Without the final period of a fully qualified name, and in lower case.
fn normalized(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The hosts that a request names: in its target and in each header `Host`.
fn requested(target: &Uri, headers: &HeaderMap) -> Vec<String> {
    let target = target.authority().map(ToString::to_string);
    let headers = headers.get_all(header::HOST).iter().map(|host| {
        // An unprintable host is never allowed.
        host.to_str().unwrap_or("(unprintable)").to_owned()
    });
    target.into_iter().chain(headers).collect()
}

fn rejection(host: &str) -> Response {
    tracing::warn!(host, "request for an unknown host rejected");
    let text = format!(
        "This poll is not at the host {host:?}.\n\n\
         It runs on this machine and answers only to localhost and loopback addresses, so that no other site can vote or \
         reset the poll. Allowed: http://localhost with the same port, and the names in the setting ALLOWED_HOSTS.\n"
    );
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (StatusCode::MISDIRECTED_REQUEST, headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn is_allowed(hosts: &LocalHosts, host: &str) -> bool {
        let request = Request::get("/").header(header::HOST, host).body(axum::body::Body::empty()).unwrap();
        hosts.check(&request).is_ok()
    }

    #[test]
    fn a_port_on_loopback_has_only_the_hosts_of_loopback() {
        let hosts = LocalHosts::of(Ipv4Addr::LOCALHOST.into(), ["Poll.Test".parse().unwrap()]);
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.:8080",
            "127.0.0.1:8080",
            "127.3.2.1",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
            "poll.test:8080",
            "POLL.TEST.",
        ] {
            assert!(is_allowed(&hosts, host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost evil.example",
            "0.0.0.0",
            "192.0.2.1:8080",
            "[2001:db8::1]",
            "::1",
            "poll.test.evil.example",
        ] {
            assert!(!is_allowed(&hosts, host), "{host}");
        }
    }

    #[test]
    fn a_port_on_all_interfaces_has_addresses_but_no_other_names() {
        let hosts = LocalHosts::of(Ipv4Addr::UNSPECIFIED.into(), []);
        for host in ["192.0.2.1:8080", "[2001:db8::1]:8080", "localhost"] {
            assert!(is_allowed(&hosts, host), "{host}");
        }
        assert!(!is_allowed(&hosts, "evil.example"));
    }

    #[test]
    fn each_host_of_a_request_must_be_allowed() {
        let hosts = LocalHosts::of(Ipv4Addr::LOCALHOST.into(), []);
        let request = |target: &str, headers: &[&str]| {
            let request = Request::get(target);
            let request = headers.iter().fold(request, |request, host| request.header(header::HOST, *host));
            request.body(axum::body::Body::empty()).unwrap()
        };
        assert!(hosts.check(&request("http://localhost/", &["localhost"])).is_ok());
        assert!(hosts.check(&request("http://evil.example/", &["localhost"])).is_err());
        assert!(hosts.check(&request("/", &["localhost", "evil.example"])).is_err());
        assert!(hosts.check(&request("/", &[])).is_err());
    }

    #[test]
    fn a_name_has_no_port_and_no_wildcard() {
        for text in ["", " ", "a:80", "*.example", "a/b", "http://a", "[::1]"] {
            assert!(text.parse::<HostName>().is_err(), "{text:?}");
        }
    }
}
