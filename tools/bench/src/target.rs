//! A program under load.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use voting_tests::free_port;

use crate::load::{Measured, Scenario};

/// This program with other arguments; it ends with the handle.
fn this() -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.kill_on_drop(true).stdin(Stdio::null());
    Ok(command)
}

/// A small program that does only the unavoidable.
pub struct Baseline {
    /// Where it serves.
    pub address: SocketAddr,
    _child: Child,
}

impl Baseline {
    /// Starts it and waits until it serves.
    pub async fn start(kind: &str, target: &str, bytes: usize) -> anyhow::Result<Self> {
        let port = free_port();
        let mut command = this()?;
        command.args(["limit", kind, "--port", &port.to_string(), "--bytes", &bytes.to_string()]);
        let mut child = command.args(["--target", target]).spawn()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        for _ in 0..500 {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(Self { address, _child: child });
            }
            if let Some(status) = child.try_wait()? {
                bail!("the limit {kind} ended at its start: {status}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("the limit {kind} does not serve")
    }
}

/// A load by a process of its own.
pub async fn load(
    address: SocketAddr,
    scenario: Scenario,
    connections: usize,
    seconds: u64,
) -> anyhow::Result<Measured> {
    let scenario = match scenario {
        Scenario::Page => "page",
        Scenario::Vote => "vote",
        Scenario::Analytics => "analytics",
    };
    let mut command = this()?;
    command.args(["load", scenario, "--address", &address.to_string()]);
    command.args(["--connections", &connections.to_string(), "--seconds", &seconds.to_string()]);
    let limit = Duration::from_secs(seconds + 60);
    let output = tokio::time::timeout(limit, command.stderr(Stdio::inherit()).output());
    let output = output.await.context("the load does not end")??;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim()).with_context(|| format!("the load failed ({})", output.status))
}

/// Live viewers, until it is dropped.
pub struct Viewers {
    _child: Child,
}

impl Viewers {
    /// Connects them all.
    pub async fn start(address: SocketAddr, count: usize) -> anyhow::Result<Self> {
        let mut command = this()?;
        command.args(["viewers", "--address", &address.to_string(), "--count", &count.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let ready = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
        if !matches!(ready, Ok(Ok(Some(_)))) {
            bail!("the viewers do not come in");
        }
        Ok(Self { _child: child })
    }
}
