//! Runs `docs/tutorial.md` word for word on the cluster that kubectl reaches, with voters beside it.
//!
//! Every step is taken, rolled back and taken again. The run stops at the first output that differs from the text, and removes
//! the namespace `voting` in any case.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use voting_tests::load::Load;
use voting_tests::tutorial::output::{Circumstances, compare};
use voting_tests::tutorial::{Block, blocks};

/// Run docs/tutorial.md on the cluster that kubectl reaches.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask tutorial")]
struct Arguments {
    /// The context of the kubeconfig file; default: the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// The order of the tour: the steps and their ways back.
const TOUR: &[(&str, Part)] = &[
    ("Step 1", Part::Forward),
    ("Step 2", Part::Forward),
    ("Step 2", Part::WayBack),
    ("Step 2", Part::Forward),
    ("Step 3", Part::Forward),
    ("Step 3", Part::WayBack),
    ("Step 3", Part::Restart),
    ("Step 3b", Part::Forward),
    ("Step 3b", Part::WayBack),
    ("Step 4", Part::Forward),
    ("Step 4", Part::WayBack),
    ("Step 4", Part::Forward),
    ("Step 5", Part::Forward),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Forward,
    WayBack,
    /// "To restart the canary, run the last `kubectl apply` of step 3 again."
    Restart,
}

/// Time limit of a command; the longest of the tutorial is 15 minutes.
const LIMIT: Duration = Duration::from_secs(16 * 60);
/// New routes reach all proxies within this time on a busy machine.
const ROUTES: Duration = Duration::from_secs(30);
/// Votes in the tutorial's own commands.
const VOTES: u64 = 7;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tutorial: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let shell = Shell::new(arguments.context.as_deref()).await?;
    preconditions(&shell).await?;
    let mut tour = Tour { shell, start: Instant::now(), load: None, taken: Vec::new() };
    let done = tokio::select! {
        done = tour.run() => done,
        signal = interrupted() => Err(signal),
    };
    // Its voters end with it.
    tour.load = None;
    println!("{:>4} s  removing the namespace voting", tour.start.elapsed().as_secs());
    let cleaned = tour.shell.run("kubectl delete namespace voting --ignore-not-found").await;
    done.and(cleaned.map(drop))
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupted() -> anyhow::Error {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return anyhow::anyhow!("no signals") };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => anyhow::anyhow!("interrupted"),
        _ = terminate.recv() => anyhow::anyhow!("terminated"),
    }
}

/// Refuses a cluster on which the tutorial cannot succeed, before anything is changed.
async fn preconditions(shell: &Shell) -> anyhow::Result<()> {
    for program in ["kubectl", "istioctl", "curl", "openssl"] {
        ensure!(shell.run(&format!("command -v {program}")).await.is_ok(), "{program} is not on the PATH");
    }
    let json = async |command: &str| -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&shell.run(&format!("{command} --output json")).await?)?)
    };
    let version = json("kubectl version").await.context("no cluster answers")?;
    let server = version["serverVersion"]["gitVersion"].as_str().unwrap_or_default();
    ensure!(
        minor(server).is_some_and(|minor| minor >= (1, 30)),
        "the cluster has Kubernetes {server}; the tutorial needs 1.30 or later"
    );
    let namespace = shell.run("kubectl get namespace voting --ignore-not-found --output name").await?;
    ensure!(
        namespace.is_empty(),
        "the cluster has a namespace voting already; delete it, or use another cluster"
    );
    let istiod = json("kubectl get deployments --all-namespaces --selector app=istiod").await?;
    let istiod = &istiod["items"][0];
    ensure!(istiod.is_object(), "the cluster has no Istio; see \"Prepare a cluster\" in docs/tutorial.md");
    let image = istiod["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    let tag = image.rsplit(':').next().unwrap_or_default();
    ensure!(
        minor(tag).is_none_or(|minor| minor >= (1, 28)),
        "the cluster has Istio {tag}; the tutorial needs 1.28 or later"
    );
    let cni = json("kubectl get daemonsets --all-namespaces --selector k8s-app=istio-cni-node").await?;
    ensure!(
        cni["items"][0].is_object(),
        "Istio has no CNI plugin; install it with components.cni.enabled=true"
    );
    let classes = json("kubectl get storageclasses").await?;
    let is_default = |class: &Value| {
        class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
    };
    ensure!(
        classes["items"].as_array().is_some_and(|classes| classes.iter().any(is_default)),
        "the cluster has no default storage class"
    );
    let gateway = json("kubectl get service istio-ingressgateway --namespace istio-system").await;
    let gateway = gateway.context("Istio has no ingress gateway")?;
    ensure!(
        gateway["status"]["loadBalancer"]["ingress"][0]["ip"].is_string(),
        "the cluster has no load balancer: the service istio-ingressgateway has no IP address"
    );
    Ok(())
}

/// Parses `v1.36.1` or `1.31.0` as far as the minor version.
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Runs commands in bash, as the tutorial's reader does.
struct Shell {
    /// Keeps the kubeconfig file and the variables of the commands.
    folder: TempDir,
    kubeconfig: Option<PathBuf>,
}

impl Shell {
    async fn new(context: Option<&str>) -> anyhow::Result<Self> {
        let mut shell = Self { folder: TempDir::new()?, kubeconfig: None };
        if let Some(context) = context {
            let config = format!("kubectl config view --raw --minify --flatten --context '{context}'");
            let config = shell.run(&config).await?;
            let path = shell.folder.path().join("kubeconfig");
            // The folder is private.
            std::fs::write(&path, config)?;
            shell.kubeconfig = Some(path);
        }
        Ok(shell)
    }

    fn ingress(&self) -> PathBuf {
        self.folder.path().join("ingress")
    }

    /// Runs a script and returns its output. Variables that it sets are known to the next one.
    async fn run(&self, script: &str) -> anyhow::Result<String> {
        let file = self.ingress();
        let file = file.display();
        let script = format!(
            "[ ! -e {file} ] || . {file}\n{script}\nstatus=$?\n[ -z ${{INGRESS_IP+x}} ] || declare -p INGRESS_IP >{file}\nexit $status"
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        // A group of its own: Ctrl-C ends it through its owner, which then cleans up.
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn().context("bash")?;
        let group = Group(child.id());
        let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.context("timeout")??;
        std::mem::forget(group);
        let printed = String::from_utf8(output.stdout)?;
        if !output.status.success() {
            bail!("{}\n{printed}{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(printed)
    }
}

/// The processes of a command; its end ends them.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            let _ = std::process::Command::new("kill").args(["-KILL", "--", &format!("-{id}")]).status();
        }
    }
}

struct Tour {
    shell: Shell,
    start: Instant,
    load: Option<Load>,
    /// The parts that were taken already.
    taken: Vec<(&'static str, Part)>,
}

impl Tour {
    async fn run(&mut self) -> anyhow::Result<()> {
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tutorial.md"))?;
        let blocks = blocks(&text);
        // The cluster is prepared but for its namespace.
        let prepare = blocks.iter().filter(|block| block.subsection == "Any cluster");
        for block in prepare.filter(|block| !block.commands.starts_with("istioctl install")) {
            self.block(block, "Prepare", Part::Forward).await?;
        }
        for &(step, part) in TOUR {
            let label = match part {
                Part::Forward => step.to_owned(),
                Part::WayBack => format!("{step}, way back"),
                Part::Restart => format!("{step}, again"),
            };
            if let Some(load) = &self.load {
                load.go_to(&label);
            }
            let blocks = blocks.iter().filter(|block| {
                block.step() == step && (block.subsection == "Way back") == (part == Part::WayBack)
            });
            let blocks: Vec<_> = blocks.collect();
            ensure!(!blocks.is_empty(), "the tutorial has no {label}");
            if part == Part::Restart {
                let last = blocks.iter().rfind(|block| block.commands.starts_with("kubectl apply"));
                self.block(last.context("no kubectl apply")?, &label, part).await?;
            } else {
                for block in blocks {
                    self.block(block, &label, part).await?;
                }
            }
            self.taken.push((step, part));
        }
        let load = self.load.take().context("no voters")?;
        let report = load.finish(VOTES).await?;
        println!("\n{report}\n");
        report.check()?;
        for block in blocks.iter().filter(|block| block.section == "Clean up") {
            self.block(block, "Clean up", Part::Forward).await?;
        }
        Ok(())
    }

    async fn block(&mut self, block: &Block, label: &str, part: Part) -> anyhow::Result<()> {
        // These are for AKS only.
        if block.commands.contains("aks-istio") {
            return Ok(());
        }
        let first = block.commands.lines().next().unwrap_or_default();
        let number = block.commands.lines().count();
        let more = if number > 1 { format!(" (and {} more)", number - 1) } else { String::new() };
        println!("{:>4} s  {label}: {first}{more}", self.start.elapsed().as_secs());
        let is_merged = self.taken.iter().any(|(step, part)| *step == "Step 3b" && *part == Part::WayBack)
            || self.taken.contains(&("Step 3", Part::WayBack));
        let is_repeated = part == Part::Restart
            || is_merged
            || self.taken.iter().any(|(step, part)| label.starts_with(step) && *part == Part::WayBack);
        let is_flagged = block.commands.contains("featureflag=on");
        let run = async |[old, new]: [[u64; 2]; 2]| {
            // Until the votes of 2.0 are transferred, each release has its own.
            let votes = match (is_merged, is_flagged) {
                (true, _) => [old[0] + new[0], old[1] + new[1]],
                (false, true) => new,
                (false, false) => old,
            };
            self.judge(block, Circumstances { votes, is_repeated }).await
        };
        match &self.load {
            Some(load) if block.output.contains("results") => load.between_votes(run).await?,
            _ => run([[0; 2]; 2]).await?,
        }
        // The first votes are the tutorial's own.
        if self.load.is_none() && block.commands.contains("grep results") {
            let address = self.shell.run("echo $INGRESS_IP").await?;
            self.load = Some(Load::start(&format!("http://{}", address.trim()), label)?);
        }
        Ok(())
    }

    /// Runs a block and compares the output. One that only reads is repeated until new routes have reached all proxies and new
    /// pods run.
    async fn judge(&self, block: &Block, circumstances: Circumstances) -> anyhow::Result<()> {
        let only_reads = (block.commands.contains("curl") && !block.commands.contains(" -d "))
            || block.commands.starts_with("istioctl experimental describe");
        let start = Instant::now();
        loop {
            let difference = match self.shell.run(&block.commands).await {
                Ok(printed) => match compare(block, &printed, circumstances) {
                    Ok(()) => return Ok(()),
                    Err(difference) => difference,
                },
                Err(error) => format!("the command failed: {error:#}"),
            };
            if !only_reads || start.elapsed() > ROUTES {
                bail!("another output than the tutorial's of:\n{}{difference}", block.commands);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
