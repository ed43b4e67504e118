//! The settings that every service has.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::{Args, ValueEnum};
use voting_config::port;

use crate::lifecycle::ShutdownTimeouts;
use crate::server::ClientTimeouts;

/// Where a service listens, and how it leaves.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Port of the service; 0 takes a free one.
    #[arg(long, env = "PORT", value_name = "PORT", default_value_t = 8080, value_parser = port())]
    pub port: u16,

    /// Port for the operator: /livez, /readyz, /metrics. Keep it inside.
    #[arg(long, env = "ADMIN_PORT", value_name = "PORT", default_value_t = 9090, value_parser = port())]
    pub admin_port: u16,

    /// Address that both ports listen on.
    #[arg(long, env = "LISTEN_ADDRESS", value_name = "IP", default_value = "0.0.0.0")]
    pub listen_address: IpAddr,

    /// After SIGTERM, seconds in which the service is not ready but still takes connections, so that whoever routes
    /// to it notices. An interrupt from the keyboard (SIGINT) does not wait.
    #[arg(long, env = "SHUTDOWN_WAIT", value_name = "SECONDS", default_value_t = 3)]
    pub shutdown_wait: u16,

    /// Seconds for the requests that are then still in flight; what takes longer is cut off.
    #[arg(long, env = "SHUTDOWN_DEADLINE", value_name = "SECONDS", default_value_t = 10)]
    pub shutdown_deadline: u16,

    /// Seconds from an open or idle connection to the end of a request's head; then it is closed. A proxy in front
    /// should close idle connections sooner.
    #[arg(long, env = "CLIENT_TIMEOUT", value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    pub client_timeout: u16,

    /// Form of the log on the standard output. auto: text on a terminal, JSON elsewhere. RUST_LOG sets its level.
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

/// The form of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl ServeArgs {
    /// Where the service listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.listen_address, self.port)
    }

    /// Where the admin port listens.
    pub fn admin_address(&self) -> SocketAddr {
        SocketAddr::new(self.listen_address, self.admin_port)
    }

    /// How long clients may take.
    pub fn client_timeouts(&self) -> ClientTimeouts {
        ClientTimeouts { header: Duration::from_secs(self.client_timeout.into()) }
    }

    /// How the service leaves.
    pub fn shutdown(&self) -> ShutdownTimeouts {
        ShutdownTimeouts {
            wait: Duration::from_secs(self.shutdown_wait.into()),
            deadline: Duration::from_secs(self.shutdown_deadline.into()),
        }
    }
}
