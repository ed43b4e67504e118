//! Real servers: Redis, and MySQL or MariaDB.
//!
//! In this order: the server at `TEST_REDIS_URL` or `TEST_MYSQL_URL`; a container, if a Docker engine is running; a program
//! on the `PATH`. Otherwise the test fails with instructions.

mod mysql;
mod redis;
mod redis_cluster;

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testcontainers::{ContainerAsync, GenericImage};
use tokio::process::Command;

use crate::PATIENCE;
use crate::process::Signal;
use crate::watchdog::Watchdog;

pub use mysql::MySql;
pub use redis::Redis;
pub use redis_cluster::RedisCluster;

/// Finds a program on the `PATH` or in the directories of system programs.
pub fn find_program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}

/// Whether a Docker engine is running.
pub async fn docker_answers() -> bool {
    let mut docker = Command::new("docker");
    docker.args(["version", "--format", "{{.Server.Version}}"]).stdout(Stdio::null()).stderr(Stdio::null());
    matches!(tokio::time::timeout(Duration::from_secs(10), docker.status()).await, Ok(Ok(status)) if status.success())
}

/// A dedicated server of one test, which may kill, freeze and restart it.
#[derive(Debug)]
pub struct OwnServer {
    program: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    address: SocketAddr,
    data: TempDir,
    running: Option<(tokio::process::Child, Watchdog)>,
}

impl OwnServer {
    /// Starts a server with the folder `data` and waits until it accepts connections.
    async fn start(
        program: PathBuf,
        arguments: Vec<String>,
        variables: Vec<(String, String)>,
        address: SocketAddr,
        data: TempDir,
    ) -> Self {
        let mut server = Self { program, arguments, variables, address, data, running: None };
        server.restart().await;
        server
    }

    /// Starts the server after it was killed, with the same data.
    pub async fn restart(&mut self) {
        let log_path = self.data.path().join("log");
        let log = std::fs::File::options().create(true).append(true).open(&log_path).unwrap();
        let mut command = Command::new(&self.program);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let watchdog = Watchdog::new(&format!("kill -9 {}", child.id().unwrap()));
        let start = Instant::now();
        while start.elapsed() < PATIENCE && child.try_wait().unwrap().is_none() {
            if tokio::net::TcpStream::connect(self.address).await.is_ok() {
                self.running = Some((child, watchdog));
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = std::fs::read_to_string(&log_path).unwrap_or_default();
        panic!("{} did not start:\n{log}", self.program.display());
    }

    /// Adds an argument for the next start.
    pub fn add_argument(&mut self, argument: &str) {
        self.arguments.push(argument.to_owned());
    }

    pub fn signal(&self, signal: Signal) {
        signal.send(self.pid());
    }

    pub fn pid(&self) -> u32 {
        let (child, _) = self.running.as_ref().expect("the server is not running");
        child.id().expect("the server has exited")
    }

    /// Bytes of its files on the disk.
    pub fn disk(&self) -> u64 {
        fn of(folder: &Path) -> u64 {
            // A server may delete its files meanwhile.
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
                .map(|(path, file)| if file.is_dir() { of(&path) } else { file.blocks() * 512 })
                .sum()
        }
        of(self.data.path())
    }

    /// Whether the server has exited of its own accord.
    pub fn has_exited(&mut self) -> bool {
        self.running.as_mut().is_none_or(|(child, _)| child.try_wait().unwrap().is_some())
    }

    pub async fn kill(&mut self) {
        let (mut child, _watchdog) = self.running.take().expect("the server is not running");
        child.kill().await.unwrap();
    }
}

/// A server that all tests of a program share.
enum Shared {
    Given(String),
    /// A static is never dropped: the watchdog removes the container at the end of the process.
    Container {
        address: SocketAddr,
        _container: Box<ContainerAsync<GenericImage>>,
        _watchdog: Watchdog,
    },
    Program {
        address: SocketAddr,
        _server: Box<OwnServer>,
    },
}

impl Shared {
    async fn container(container: ContainerAsync<GenericImage>, port: u16) -> Self {
        let _watchdog = Watchdog::new(&format!("docker rm --force --volumes {}", container.id()));
        let port = container.get_host_port_ipv4(port).await.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self::Container { address, _container: Box::new(container), _watchdog }
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
