//! The processes of the benchmark: baselines, loads and viewers.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use voting_tests::{PATIENCE, free_port};

use crate::load::{Measured, Scenario};
use crate::open_loop::Answered;

/// This program with other arguments. It is killed with its handle.
fn this() -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.kill_on_drop(true).stdin(Stdio::null());
    Ok(command)
}

/// A baseline server.
pub struct Baseline {
    pub address: SocketAddr,
    _child: Child,
}

impl Baseline {
    /// Starts a server and waits until it listens.
    pub async fn start(kind: &str, target: &str, bytes: usize) -> anyhow::Result<Self> {
        let port = free_port();
        let mut command = this()?;
        command.args(["baseline", kind, "--port", &port.to_string(), "--bytes", &bytes.to_string()]);
        let mut child = command.args(["--target", target]).spawn()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let start = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("the baseline {kind} exited during start-up: {status}");
            }
            ensure!(start.elapsed() < PATIENCE, "the baseline {kind} does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { address, _child: child })
    }
}

/// Runs a load in a separate process.
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
    json(command, seconds).await
}

/// Sends votes at this rate in a separate process.
pub async fn open_loop(
    address: SocketAddr,
    rate: u64,
    connections: usize,
    seconds: u64,
) -> anyhow::Result<Answered> {
    let mut command = this()?;
    command.args(["open-loop", "--address", &address.to_string(), "--rate", &rate.to_string()]);
    command.args(["--connections", &connections.to_string(), "--seconds", &seconds.to_string()]);
    json(command, seconds).await
}

/// The result that a load generator prints after this time, or later on a slow machine.
async fn json<T: DeserializeOwned>(mut command: Command, seconds: u64) -> anyhow::Result<T> {
    let limit = Duration::from_secs(32 * seconds + 120);
    let output = tokio::time::timeout(limit, command.output());
    let output = output.await.context("the load generator does not end")??;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the load generator failed ({}): {errors}", output.status);
    serde_json::from_slice(&output.stdout).context("the result of the load generator")
}

/// Live viewers, which are disconnected on drop.
pub struct Viewers {
    _child: Child,
}

impl Viewers {
    /// Connects this number of viewers.
    pub async fn start(address: SocketAddr, count: usize) -> anyhow::Result<Self> {
        let mut command = this()?;
        command.args(["viewers", "--address", &address.to_string(), "--count", &count.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let ready = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        if !matches!(ready, Ok(Ok(Some(_)))) {
            bail!("the viewers do not connect");
        }
        Ok(Self { _child: child })
    }
}

/// The resident memory of a process in MiB.
pub fn resident(pid: u32) -> anyhow::Result<f64> {
    status(pid, "VmRSS:")
}

/// The peak of [`resident`].
pub fn peak(pid: u32) -> anyhow::Result<f64> {
    status(pid, "VmHWM:")
}

fn status(pid: u32, key: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .context("the memory of a process is available on Linux only")?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)).context("no such line")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1024.0)
}
