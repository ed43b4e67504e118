//! Settings of every service, and of one behind proxies.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::{Args, ValueEnum};
use voting_config::{InvalidSetting, address, listen_port, number, switch};

use crate::lifecycle::ShutdownTimeouts;
use crate::server::ClientLimits;
use crate::trusted_origins::TrustedOrigins;

/// Listener, shutdown and log settings.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Port of the service; 0 selects a free one.
    #[arg(long, env = "PORT", value_name = "PORT", default_value_t = 8080, value_parser = listen_port())]
    pub port: u16,

    /// Port for the operator: /livez, /readyz, /metrics, /openapi.json. Do not expose it publicly.
    #[arg(long, env = "ADMIN_PORT", value_name = "PORT", default_value_t = 9090, value_parser = listen_port())]
    pub admin_port: u16,

    /// IP address on which both ports listen; :: for all addresses of IPv6 and IPv4, or of IPv4 alone on a machine without
    /// IPv6.
    #[arg(long, env = "LISTEN_ADDRESS", value_name = "IP", default_value = "::", value_parser = address())]
    pub listen_address: IpAddr,

    /// Seconds after SIGTERM in which the service reports not ready but still accepts connections, so that load
    /// balancers notice. SIGINT (Ctrl-C) skips the wait.
    #[arg(long, env = "SHUTDOWN_WAIT", value_name = "SECONDS", default_value_t = 3, value_parser = number(0..=u16::MAX))]
    pub shutdown_wait: u16,

    /// Seconds for the requests that are then still in flight; after them, their connections are closed.
    #[arg(long, env = "SHUTDOWN_DEADLINE", value_name = "SECONDS", default_value_t = 10, value_parser = number(0..=u16::MAX))]
    pub shutdown_deadline: u16,

    /// Seconds that an open or idle connection may take to send a request's header, and a client to take the next bytes
    /// of a response, before the connection is closed. A proxy in front should close idle connections sooner.
    #[arg(long, env = "CLIENT_TIMEOUT", value_name = "SECONDS", default_value_t = 30, value_parser = number(1..=u16::MAX))]
    pub client_timeout: u16,

    /// Maximum number of connections of clients; further ones are answered with 503. Half of them may follow the live
    /// results. The limit of open files lowers it.
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "NUMBER", default_value_t = 2500, value_parser = number(1..=u16::MAX))]
    pub max_connections: u16,

    /// Format of the log on the standard output. auto: text on a terminal, JSON elsewhere. RUST_LOG sets its level.
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

/// The proxies in front of the page.
#[derive(Args, Clone, Debug, Default)]
pub struct ProxyArgs {
    /// Origins whose forms are accepted besides the page's own, such as https://vote.example: the page's address in
    /// browsers, behind a proxy that replaces the header Host. Separated by commas or spaces.
    #[arg(
        long,
        env = "TRUSTED_ORIGINS",
        value_name = "ORIGINS",
        default_value = "",
        hide_default_value = true
    )]
    pub trusted_origins: TrustedOrigins,

    /// Take the page's address from the headers X-Forwarded-Host, X-Forwarded-Proto and Forwarded, because a proxy in
    /// front sets them: true or false.
    #[arg(long, env = "TRUST_FORWARDED_HOST", value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", value_parser = switch())]
    pub trust_forwarded_host: bool,

    /// Seconds for which browsers that used TLS must use it again: the max-age of the header Strict-Transport-Security.
    /// 0 makes browsers forget it; without a value the header is not sent. A proxy must set X-Forwarded-Proto or Forwarded.
    #[arg(long, env = "HSTS_MAX_AGE", value_name = "SECONDS", value_parser = number(0..=u32::MAX))]
    pub hsts_max_age: Option<u32>,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One human-readable line per event.
    Text,
    /// One JSON object per event and line.
    Json,
}

impl ServeArgs {
    /// Checks that the two ports differ.
    pub(crate) fn check_ports(&self) -> Result<(), InvalidSetting> {
        if self.port != 0 && self.port == self.admin_port {
            let port = self.admin_port.to_string();
            return Err(InvalidSetting::of("ADMIN_PORT", &port, "equals PORT; allowed: another port"));
        }
        Ok(())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.listen_address, self.port)
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        SocketAddr::new(self.listen_address, self.admin_port)
    }

    /// The limits of clients on the public port. Raises the limit of open files.
    pub fn client_limits(&self) -> ClientLimits {
        ClientLimits {
            timeout: Duration::from_secs(self.client_timeout.into()),
            connections: self.max_connections.into(),
        }
        .within_open_files()
    }

    pub(crate) fn shutdown(&self) -> ShutdownTimeouts {
        ShutdownTimeouts {
            wait: Duration::from_secs(self.shutdown_wait.into()),
            deadline: Duration::from_secs(self.shutdown_deadline.into()),
        }
    }
}
