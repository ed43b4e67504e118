//! `cargo xtask cluster`: Kubernetes with Istio on this machine, for the tutorial and its tests.
//!
//! The node runs in network, mount and process namespaces of its own (`tests/cluster/node/start.sh`), so nothing in the
//! machine's own network changes, and the end of its first process ends and removes everything but files and cgroups. Until
//! the cluster is ready, the end of this program ends the node, so that an interrupted start leaves nothing running.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;

use crate::command::step;
use crate::{command, go, install, workspace};

/// Commands of `cargo xtask cluster`.
#[derive(Subcommand, Debug)]
pub enum ClusterCommand {
    /// Create the cluster; does nothing if it runs.
    Up,
    /// End the cluster and remove everything but the built programs.
    Down,
    /// Show whether the cluster runs.
    Status,
    /// Run a command in the node's network, with kubectl, istioctl and their configuration.
    Run {
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// Debian packages that the node needs.
const PACKAGES: &[&str] = &[
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "ipset",
    "iptables",
    "mariadb-client",
    "mariadb-server-core",
    "nftables",
    "redis-server",
    "redis-tools",
];

/// The versions that the programs report. Istio's installer derives the names of its images from them.
const VERSIONS: &str = "-s -w \
    -X k8s.io/component-base/version.gitVersion=v1.36.1 \
    -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=36 \
    -X istio.io/istio/pkg/version.buildHub=cluster.local \
    -X istio.io/istio/pkg/version.buildTag=1.31.0 \
    -X istio.io/istio/pkg/version.buildVersion=1.31.0";

/// Installs the Debian packages that a cluster needs.
pub fn install_packages() -> anyhow::Result<()> {
    let missing = [
        "conntrack",
        "containerd",
        "ipset",
        "iptables",
        "mariadb",
        "mariadbd",
        "mysqladmin",
        "nft",
        "redis-cli",
        "redis-server",
    ]
    .iter()
    .any(|name| !install::is_installed(&[name]));
    if missing || !Path::new("/usr/lib/cni/bridge").is_file() {
        install::packages(PACKAGES)?;
    }
    Ok(())
}

/// Runs a subcommand.
pub fn run(command: &ClusterCommand) -> anyhow::Result<()> {
    let cluster = Cluster::new()?;
    match command {
        ClusterCommand::Up => cluster.up(),
        ClusterCommand::Down => cluster.down(),
        ClusterCommand::Status => cluster.status(),
        ClusterCommand::Run { command } => {
            let error = cluster.inside(&command[0])?.args(&command[1..]).exec();
            Err(error).with_context(|| format!("cannot start: {}", command[0]))
        }
    }
}

/// The folder of the cluster's programs.
pub fn programs() -> anyhow::Result<PathBuf> {
    let programs = Cluster::new()?.programs;
    std::fs::create_dir_all(&programs)?;
    Ok(programs)
}

/// Adds a program to those of the cluster: a Go package with its version.
pub fn install(package: &str) -> anyhow::Result<()> {
    let programs = programs()?;
    step(&format!("{package} (takes minutes the first time)"), || {
        command::run(Command::new("go").args(["install", package]).env("GOBIN", programs))
    })
}

/// Runs a program in the node's network, on a cluster that is created if none runs.
pub fn run_on_cluster(program: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let cluster = Cluster::new()?;
    cluster.up()?;
    command::run(cluster.inside(&program.to_string_lossy())?.args(arguments))
}

struct Cluster {
    /// Sources and configuration.
    sources: PathBuf,
    /// Built programs; `down` keeps them.
    programs: PathBuf,
    /// Everything that the cluster writes.
    state: PathBuf,
}

impl Cluster {
    fn new() -> anyhow::Result<Self> {
        let folder = workspace::target()?.join("cluster");
        Ok(Self {
            sources: workspace::root().join("tests/cluster"),
            programs: folder.join("bin"),
            state: folder.join("state"),
        })
    }

    fn up(&self) -> anyhow::Result<()> {
        if self.node()?.is_some() && self.state.join("ready").is_file() {
            println!("the cluster runs");
            return Ok(());
        }
        ensure!(cfg!(target_os = "linux") && is_root()?, "Linux and root are required");
        let namespaces =
            Command::new("unshare").args(["--mount", "--net", "--pid", "--fork", "true"]).output();
        let namespaces = namespaces.context("unshare")?;
        ensure!(
            namespaces.status.success(),
            "root may not create namespaces here: {}",
            String::from_utf8_lossy(&namespaces.stderr).trim()
        );
        self.remove()?;
        let built = step("the programs (takes minutes the first time)", || self.build())?;
        let start = Instant::now();
        let done = self.start(&built);
        if let Err(error) = done {
            eprintln!("the logs are in {}", self.state.join("log").display());
            return Err(error);
        }
        println!("the cluster is ready after {:.0} s", start.elapsed().as_secs_f32());
        println!("use it with: cargo xtask cluster run kubectl get pods --all-namespaces");
        Ok(())
    }

    /// Builds all programs, and returns the paths of Envoy and of the folder of this project's programs.
    fn build(&self) -> anyhow::Result<[PathBuf; 2]> {
        install_packages()?;
        let envoy = install::envoy()?;
        let services = workspace::programs()?;
        std::fs::create_dir_all(&self.programs)?;
        let output = format!("{}/", self.programs.display());
        go::run(&self.sources, &["build", "-ldflags", VERSIONS, "-o", &output, "./...", "tool"])?;
        let kubectl = self.programs.join("kubectl");
        if !kubectl.exists() {
            std::os::unix::fs::symlink("kube", kubectl)?;
        }
        Ok([envoy, services])
    }

    fn start(&self, [envoy, services]: &[PathBuf; 2]) -> anyhow::Result<()> {
        std::fs::create_dir_all(self.state.join("log"))?;
        let images = self.state.join("images.tar");
        step("the images", || {
            command::run(
                Command::new(self.programs.join("images"))
                    .args([&images, &self.programs, envoy, services])
                    .current_dir(&self.sources),
            )
        })?;
        let ready = step("the node", || {
            let log = File::create(self.state.join("log/node.log"))?;
            let mut node = Command::new("unshare")
                .args([
                    "--mount",
                    "--propagation=private",
                    "--net",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "--mount-proc",
                ])
                .arg(self.sources.join("node/start.sh"))
                .args([&self.state, &self.programs, &images])
                // Its end ends the node, unless there was a line before.
                .stdin(Stdio::piped())
                .stdout(log.try_clone()?)
                .stderr(log)
                // Once the cluster is ready, Ctrl-C in the same terminal is for others.
                .process_group(0)
                .spawn()
                .context("unshare")?;
            std::fs::write(self.state.join("pid"), node.id().to_string())?;
            Self::wait_for(&mut node, "the API server", || Ok(self.state.join("kubeconfig").is_file()))?;
            self.quietly("kubectl", &["apply", "--filename", "tests/cluster/cluster.yaml"])?;
            Self::wait_for(&mut node, "the node", || {
                let node = ["wait", "--for=condition=ready", "node/node", "--timeout=0"];
                Ok(self.quietly("kubectl", &node).is_ok())
            })?;
            let dns = ["rollout", "status", "deployment/dns", "--namespace=kube-system", "--timeout=2m"];
            self.quietly("kubectl", &dns)?;
            node.stdin.take().context("the node has no standard input")
        })?;
        step("the Gateway API and Istio", || {
            let module = ["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api"];
            let module = command::output(Command::new("go").args(module).current_dir(&self.sources))?;
            let definitions = format!("{}/config/crd/standard", module.trim());
            self.quietly("kubectl", &["apply", "--server-side", "--filename", &definitions])?;
            self.quietly(
                "istioctl",
                &[
                    "install",
                    "--filename=tests/cluster/istio.yaml",
                    "--set=components.cni.enabled=true",
                    "--skip-confirmation",
                ],
            )
        })?;
        writeln!(&ready, "ready")?;
        Ok(File::create(self.state.join("ready")).map(drop)?)
    }

    /// Waits until something is so, as long as the node runs.
    fn wait_for(node: &mut Child, what: &str, is: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let start = Instant::now();
        while !is()? {
            ensure!(node.try_wait()?.is_none(), "the node ended: see log/node.log");
            ensure!(start.elapsed() < Duration::from_secs(180), "{what} is not ready after three minutes");
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Runs a command in the cluster; an error has its output.
    fn quietly(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        command::output(self.inside(program)?.args(arguments).current_dir(workspace::root())).map(drop)
    }

    /// A command in the node's network with the cluster's programs and configuration.
    fn inside(&self, program: &str) -> anyhow::Result<Command> {
        let node = self.node()?.context("the cluster does not run: cargo xtask cluster up")?;
        let mut path = vec![self.programs.clone()];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &node.to_string(), "--net", program])
            .env("KUBECONFIG", self.state.join("kubeconfig"))
            .env("PATH", std::env::join_paths(path)?);
        Ok(command)
    }

    /// The process that holds the node's namespaces.
    fn node(&self) -> anyhow::Result<Option<u32>> {
        let Ok(pid) = std::fs::read_to_string(self.state.join("pid")) else { return Ok(None) };
        let pid: u32 = pid.parse().with_context(|| format!("{}/pid", self.state.display()))?;
        // Another process may have the number by now.
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        Ok((line.starts_with("unshare\0") && line.contains(&*self.state.to_string_lossy())).then_some(pid))
    }

    fn down(&self) -> anyhow::Result<()> {
        self.remove()?;
        println!("the cluster is removed");
        Ok(())
    }

    /// Ends the node's processes and removes what they leave behind: files and cgroups.
    fn remove(&self) -> anyhow::Result<()> {
        if let Some(node) = self.node()? {
            command::output(Command::new("kill").args(["-KILL", &node.to_string()]))?;
        }
        let start = Instant::now();
        loop {
            let left = remove_cgroups()?;
            let files = match std::fs::remove_dir_all(&self.state) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Some(error),
                _ => None,
            };
            if left.is_empty() && files.is_none() {
                return Ok(());
            }
            // Processes that were killed release their cgroups and mounts a moment later.
            if start.elapsed() > Duration::from_secs(60) {
                bail!("cannot remove {left:?} {}: {files:?}", self.state.display());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn status(&self) -> anyhow::Result<()> {
        match (self.node()?, self.state.join("ready").is_file()) {
            (None, _) => println!("the cluster does not run"),
            (Some(node), false) => println!("the cluster is not ready (process {node})"),
            (Some(node), true) => {
                println!("the cluster runs (process {node}); logs in {}", self.state.join("log").display());
                command::run(self.inside("kubectl")?.args(["get", "nodes,pods", "--all-namespaces"]))?;
            }
        }
        Ok(())
    }
}

/// Removes the cluster's cgroups, and returns those that are in use.
fn remove_cgroups() -> anyhow::Result<Vec<PathBuf>> {
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    roots.extend(
        std::fs::read_dir(&roots[0])?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()?,
    );
    let groups = roots.into_iter().map(|root| root.join("voting-cluster")).filter(|group| group.is_dir());
    Ok(groups.filter(|group| remove_cgroup(group).is_err()).collect())
}

/// Removes a cgroup and those below it. Its files are not removed but vanish with it.
fn remove_cgroup(group: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    std::fs::remove_dir(group)
}

fn is_root() -> anyhow::Result<bool> {
    Ok(command::output(Command::new("id").arg("-u"))?.trim() == "0")
}
