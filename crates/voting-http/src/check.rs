//! The subcommand `check` of a service, for the health check of a container whose image has neither a shell nor curl.
//!
//! It requests `/readyz?exclude=store`, as a readiness probe does: a service whose store is unavailable still serves, and
//! restarting it would not help.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use clap::Subcommand;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use voting_config::InvalidSetting;

use crate::config::ServeArgs;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Subcommand to run instead of serving.
#[derive(Subcommand, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Exit with 0 if the service that runs on this host with the same settings is ready.
    Check,
}

/// Requests the readiness of the service with these settings from its admin port.
///
/// # Errors
/// One line for the operator: the service is not ready, or does not respond within 2 seconds.
pub async fn check(settings: &ServeArgs) -> anyhow::Result<()> {
    let addresses = reachable(settings.admin_address());
    let address = addresses[0];
    if address.port() == 0 {
        let reason = "selects a free port, which check can't know; allowed: a number from 1 to 65535";
        return Err(InvalidSetting::of("ADMIN_PORT", "0", reason).into());
    }
    tokio::time::timeout(TIMEOUT, request_readiness(&addresses))
        .await
        .unwrap_or_else(|_| bail!("no response within {} seconds", TIMEOUT.as_secs()))
        .with_context(|| format!("the admin port {address}"))
}

async fn request_readiness(addresses: &[SocketAddr]) -> anyhow::Result<()> {
    let stream = TcpStream::connect(addresses).await?;
    let address = stream.peer_addr()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/readyz?exclude=store").header(header::HOST, address.to_string());
    let response = sender.send_request(request.body(Body::empty())?).await?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let reasons = to_bytes(Body::new(response.into_body()), 4096).await?;
    let failed: Vec<_> =
        reasons.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"[-]")).collect();
    bail!("{status}: {}", String::from_utf8_lossy(&failed.join(&b", "[..])))
}

/// The addresses by which a service that listens on this one is reachable from the same host.
fn reachable(address: SocketAddr) -> Vec<SocketAddr> {
    let ips = match address.ip() {
        ip if !ip.is_unspecified() => vec![ip],
        IpAddr::V4(_) => vec![Ipv4Addr::LOCALHOST.into()],
        // The service listens on both families, and a host may lack one.
        IpAddr::V6(_) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
    };
    ips.into_iter().map(|ip| SocketAddr::new(ip, address.port())).collect()
}
