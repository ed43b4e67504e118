//! A real Redis and a real MySQL or MariaDB.
//!
//! In this order: the server that `TEST_REDIS_URL` or `TEST_MYSQL_URL` names; a container, where a Docker engine
//! answers; a server program on the `PATH`. Else the test fails and says how to get one.

mod mysql;
mod redis;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::process::Signal;
use crate::watchdog::Watchdog;

pub use mysql::MySql;
pub use redis::Redis;

/// Where a program lies on the `PATH`, or where distributions put servers.
pub fn find_program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}

/// Whether a Docker engine answers.
pub async fn docker_answers() -> bool {
    let mut docker = Command::new("docker");
    docker.args(["version", "--format", "{{.Server.Version}}"]).stdout(Stdio::null()).stderr(Stdio::null());
    matches!(tokio::time::timeout(Duration::from_secs(10), docker.status()).await, Ok(Ok(status)) if status.success())
}

/// A server program that the test may kill, freeze and start again with its data.
#[derive(Debug)]
struct Program {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    running: Option<(tokio::process::Child, Watchdog)>,
}

impl Program {
    fn new(program: PathBuf, arguments: Vec<String>, log: PathBuf) -> Self {
        Self { program, arguments, log, running: None }
    }

    /// Starts it and waits until it takes connections.
    async fn start(&mut self, address: SocketAddr) {
        let log = std::fs::File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let watchdog = Watchdog::new(&format!("kill -9 {}", child.id().unwrap()));
        for _ in 0..1500 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                self.running = Some((child, watchdog));
                return;
            }
            if child.try_wait().unwrap().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        panic!("{} does not start:\n{log}", self.program.display());
    }

    fn signal(&self, signal: Signal) {
        let (child, _) = self.running.as_ref().expect("the server does not run");
        signal.send(child.id().unwrap());
    }

    async fn kill(&mut self) {
        let (mut child, _watchdog) = self.running.take().expect("the server does not run");
        child.kill().await.unwrap();
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
