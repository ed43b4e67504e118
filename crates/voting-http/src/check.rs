//! The command `check` of a service: whether the one that runs here is ready.
//!
//! For a container's health check: its image has neither a shell nor curl. It asks what a readiness probe asks,
//! `/readyz?exclude=store`: a service whose store is away still serves, and restarting it would bring nothing back.

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

/// How long the service may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a service does instead of serving.
#[derive(Subcommand, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Exit with 0 if the service that runs here, with the same settings, is ready.
    Check,
}

/// Asks the admin port of these settings whether the service is ready.
///
/// # Errors
/// One line for the operator: it is not, or it does not answer within 2 seconds.
pub async fn check(settings: &ServeArgs) -> anyhow::Result<()> {
    let address = reachable(settings.admin_address());
    if address.port() == 0 {
        let wrong = "leaves the port open, so check can't know it; allowed: a number from 1 to 65535";
        return Err(InvalidSetting::of("ADMIN_PORT", "0", wrong).into());
    }
    tokio::time::timeout(TIMEOUT, ask(address))
        .await
        .unwrap_or_else(|_| bail!("no answer within {} seconds", TIMEOUT.as_secs()))
        .with_context(|| format!("the admin port {address}"))
}

async fn ask(address: SocketAddr) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/readyz?exclude=store").header(header::HOST, address.to_string());
    let answer = sender.send_request(request.body(Body::empty())?).await?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let reasons = to_bytes(Body::new(answer.into_body()), 4096).await?;
    let failed: Vec<_> =
        reasons.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"[-]")).collect();
    bail!("{status}: {}", String::from_utf8_lossy(&failed.join(&b", "[..])))
}

/// Where a service that listens on this address can be reached from the same machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
