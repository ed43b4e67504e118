//! Programs as child processes that end with the test.

use std::fs::OpenOptions;
use std::io::PipeReader;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::file::profile_folder;
use crate::{PATIENCE, free_port};

#[derive(Clone, Copy, Debug)]
pub enum Signal {
    Terminate,
    /// Ctrl-C.
    Interrupt,
    Kill,
    /// Freezes the process.
    Stop,
    /// Resumes a frozen process.
    Continue,
}

impl Signal {
    fn number(self) -> i32 {
        match self {
            Self::Terminate => libc::SIGTERM,
            Self::Interrupt => libc::SIGINT,
            Self::Kill => libc::SIGKILL,
            Self::Stop => libc::SIGSTOP,
            Self::Continue => libc::SIGCONT,
        }
    }

    #[allow(unsafe_code, reason = "the standard library has no other signal than kill -9")]
    pub fn send(self, pid: u32) {
        let pid = i32::try_from(pid).unwrap();
        // SAFETY: kill(2) takes two numbers and accesses no memory of this process.
        let done = unsafe { libc::kill(pid, self.number()) };
        assert_eq!(done, 0, "{self:?} to {pid}: {}", std::io::Error::last_os_error());
    }
}

/// The path of one of the system's programs in [`programs`].
pub fn program(name: &str) -> PathBuf {
    programs().join(name)
}

/// The folder of the system's programs: `VOTING_BINARIES`, or that of the current build, which is brought up to date.
pub fn programs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(folder) = std::env::var_os("VOTING_BINARIES") {
            return folder.into();
        }
        let folder = profile_folder();
        let profile = folder.file_name().and_then(|name| name.to_str()).unwrap();
        let mut cargo = std::process::Command::new(env!("CARGO"));
        cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).args(["build", "--quiet", "--locked"]);
        cargo.args(["--workspace", "--bins", "--profile", if profile == "debug" { "dev" } else { profile }]);
        // Variables that cargo set for this program would make build scripts that read them run again each time.
        let of_this = |name: &String| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        std::env::vars().map(|(name, _)| name).filter(of_this).for_each(|name| {
            cargo.env_remove(name);
        });
        assert!(cargo.status().unwrap().success(), "building the programs failed");
        folder
    })
}

/// A running service, which is killed on drop.
#[derive(Debug)]
pub struct Service {
    program: PathBuf,
    settings: Vec<(String, String)>,
    log: Option<PathBuf>,
    child: Child,
    /// The public address.
    pub address: SocketAddr,
    /// The address of the admin port.
    pub admin: SocketAddr,
}

impl Service {
    /// Starts a program with these settings and waits until its admin port answers.
    pub async fn start(name: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_in(programs(), name, settings).await
    }

    /// [`Service::start`] of the program in this folder.
    pub async fn start_in(folder: &Path, name: &str, settings: &[(&str, &str)]) -> Self {
        let program = folder.join(name);
        Self::spawn(program, owned(settings), None, Stdio::null(), loopback(), loopback()).await
    }

    /// [`Service::start`] with the standard output in this file.
    pub async fn start_logged(name: &str, settings: &[(&str, &str)], log: Option<&Path>) -> Self {
        let owned_log = log.map(Path::to_owned);
        Self::spawn(program(name), owned(settings), owned_log, stdout(log), loopback(), loopback()).await
    }

    /// [`Service::start`] with the standard output in a pipe; returns its reading end.
    pub async fn start_piped(name: &str, settings: &[(&str, &str)]) -> (Self, PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        let service =
            Self::spawn(program(name), owned(settings), None, writer.into(), loopback(), loopback()).await;
        (service, reader)
    }

    /// Starts it again on the same ports after it has exited.
    pub async fn restart(&mut self) {
        let (program, settings, log) = (self.program.clone(), self.settings.clone(), self.log.clone());
        let stdout = stdout(log.as_deref());
        *self = Self::spawn(program, settings, log, stdout, self.address, self.admin).await;
    }

    async fn spawn(
        program: PathBuf,
        settings: Vec<(String, String)>,
        log: Option<PathBuf>,
        stdout: Stdio,
        address: SocketAddr,
        admin: SocketAddr,
    ) -> Self {
        let mut command = clean(&program);
        command.env("LISTEN_ADDRESS", "127.0.0.1");
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        command.env("PORT", address.port().to_string()).env("ADMIN_PORT", admin.port().to_string());
        let mut child = command.stdout(stdout).spawn().unwrap();
        // The command holds the writing end of a pipe, whose reader would otherwise see no end.
        drop(command);
        let start = Instant::now();
        // A setting may choose the other family.
        let admins = [admin, SocketAddr::new(Ipv6Addr::LOCALHOST.into(), admin.port())];
        while tokio::net::TcpStream::connect(&admins[..]).await.is_err() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{} exited during start-up: {status}", program.display());
            }
            assert!(start.elapsed() < PATIENCE, "{} does not listen", program.display());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self { program, settings, log, child, address, admin }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        signal.send(self.pid());
    }

    pub async fn wait(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }
}

/// The standard output of a service: appended to this file, else discarded.
fn stdout(log: Option<&Path>) -> Stdio {
    let append = |path: &Path| OpenOptions::new().create(true).append(true).open(path).unwrap().into();
    log.map_or_else(Stdio::null, append)
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// A program without the variables of the environment.
pub fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().kill_on_drop(true).stdin(Stdio::null());
    command
}

/// The result of a program.
#[derive(Debug)]
pub struct Ended {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Runs one of the system's programs until it exits.
pub async fn run(name: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Ended {
    let mut command = clean(&program(name));
    let output = command.args(arguments).envs(settings.iter().copied()).output();
    let output = tokio::time::timeout(PATIENCE, output).await.expect("the program does not exit").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A running `voting-load` with its picture.
#[derive(Debug)]
pub struct Voters {
    child: Child,
    /// URL of the picture's port without a trailing slash.
    pub url: String,
}

impl Voters {
    /// Starts it on the poll at this URL, and waits for the address of its picture.
    pub async fn start(poll: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = clean(&program("voting-load"));
        command.env("POLL_URL", poll).env("LISTEN_ADDRESS", "127.0.0.1").env("ADMIN_PORT", "0");
        command.env("SPLIT_PORT", "0").envs(settings.iter().copied());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let reading = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("voting-load ends");
                if let Some(url) = line.strip_prefix("picture at ") {
                    return url.strip_suffix("/split").unwrap().to_owned();
                }
            }
        };
        let url = tokio::time::timeout(PATIENCE, reading).await.expect("voting-load does not start");
        // Its progress must not fill the pipe.
        tokio::spawn(async move { lines.into_inner().read_to_end(&mut Vec::new()).await });
        Self { child, url }
    }

    pub async fn end(mut self, signal: Signal) -> ExitStatus {
        signal.send(self.child.id().unwrap());
        self.child.wait().await.unwrap()
    }
}

/// A running `voting-local`.
#[derive(Debug)]
pub struct Local {
    child: Child,
    /// URL of the page without a trailing slash.
    pub url: String,
    /// The banner that it prints when it is ready.
    pub banner: String,
}

impl Local {
    /// Starts it on a free port and waits for the banner.
    pub async fn start(data_dir: &Path, arguments: &[&str]) -> Self {
        let mut command = clean(&program("voting-local"));
        command.arg("--data-dir").arg(data_dir).args(["--port", "0"]).args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        let reading = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                banner += &line;
                banner.push('\n');
                if line.contains("Ctrl-C") {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("voting-local does not start");
        let url = banner.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.expect("voting-local prints no URL").to_owned();
        // Later log lines must not fill the pipe.
        tokio::spawn(async move { lines.into_inner().read_to_end(&mut Vec::new()).await });
        Self { child, url, banner }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub async fn end(mut self, signal: Signal) -> ExitStatus {
        signal.send(self.child.id().unwrap());
        self.child.wait().await.unwrap()
    }
}
