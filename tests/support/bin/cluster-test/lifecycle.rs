//! A cluster is created once, is removed completely, and an interrupted start leaves nothing running.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::machine::{Machine, namespaces, processes};

/// Time limit for the end of killed processes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the test, which begins and ends without a cluster.
pub fn run() -> anyhow::Result<()> {
    ensure!(
        xtask(&["cluster", "status"])?.contains("does not run"),
        "a cluster runs; remove it first: cargo xtask cluster down"
    );
    let untouched = Machine::now()?;
    let own = namespaces(&PathBuf::from("/proc/self"));
    for stage in ["xtask: the images", "xtask: the node", "xtask: the Gateway API and Istio"] {
        println!("cluster-test: Ctrl-C at {stage:?}");
        interrupt_at(stage)?;
        nothing_runs(&BTreeSet::new())?;
        ensure!(xtask(&["cluster", "status"])?.contains("does not run"), "the status after Ctrl-C");
    }
    // The first start installs programs, which stay.
    xtask(&["cluster", "down"])?;
    let before = Machine::now()?.with_files();

    println!("cluster-test: up");
    let start = Instant::now();
    let up = xtask(&["cluster", "up"])?;
    let line = up.lines().find(|line| line.contains("ready after")).context("no time in the output")?;
    println!("cluster-test: {line} ({:.0} s in all)", start.elapsed().as_secs_f32());
    let pods = "kubectl get pods --all-namespaces --output jsonpath={.items[*].metadata.uid}";
    let first = (node()?, in_cluster(pods)?);
    ensure!(xtask(&["cluster", "up"])?.contains("the cluster runs"), "the second start");
    ensure!(first == (node()?, in_cluster(pods)?), "the second start changed the cluster");

    bad_clusters()?;

    // Of the cluster's own processes, and of the containers', whose commands do not show it.
    let all: Vec<_> = processes().iter().map(|process| (belongs(process), namespaces(process))).collect();
    let is_known = |known: &BTreeSet<PathBuf>| {
        let members = all.iter().filter(|(belongs, own)| *belongs || !own.is_disjoint(known));
        members
            .flat_map(|(_, own)| own.clone())
            .filter(|namespace| !own.contains(namespace))
            .collect::<BTreeSet<_>>()
    };
    let known = is_known(&is_known(&BTreeSet::new()));
    ensure!(known.len() > 10, "the cluster has few namespaces: {known:?}");

    println!("cluster-test: down");
    xtask(&["cluster", "down"])?;
    nothing_runs(&known)?;
    let mut difference = Machine::now()?.with_files().difference(&before);
    difference.extend(Machine::now()?.difference(&untouched));
    ensure!(difference.is_empty(), "the cluster left:\n{}", difference.join("\n"));
    ensure!(!state()?.exists(), "{} exists", state()?.display());
    ensure!(xtask(&["cluster", "down"])?.contains("is removed"), "down without a cluster");
    println!("cluster-test: passed after {:.0} s", start.elapsed().as_secs_f32());
    Ok(())
}

/// The tutorial refuses a cluster of which `k8s/doctor.sh` finds a fault (the suite `doctor` causes each), or that has the namespace
/// `voting`, before it changes anything.
fn bad_clusters() -> anyhow::Result<()> {
    let class = "storageclass/folder storageclass.kubernetes.io/is-default-class";
    let istio = "deployment/istiod --namespace istio-system";
    for (spoil, part, repair) in [
        (
            format!("kubectl label {istio} app-"),
            "FAIL  the cluster has no Istio",
            format!("kubectl label {istio} app=istiod"),
        ),
        (
            format!("kubectl annotate {class}-"),
            "FAIL  there is no default storage class",
            format!("kubectl annotate {class}=true"),
        ),
        (
            "kubectl create namespace voting".to_owned(),
            "the cluster has a namespace voting already",
            "kubectl delete namespace voting".to_owned(),
        ),
    ] {
        println!("cluster-test: {part}");
        in_cluster(&spoil)?;
        let tutorial = std::env::current_exe()?.with_file_name("tutorial");
        let output = cargo_xtask(&["cluster", "run", &tutorial.to_string_lossy()]).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && output.stdout.is_empty(), "the tutorial ran: {part}");
        // The finding has a line of its own.
        let lines = 1 + usize::from(part.starts_with("FAIL"));
        ensure!(error.trim().lines().count() == lines && error.contains(part), "{part}: {error}");
        in_cluster(&repair)?;
    }
    let left = in_cluster("kubectl get namespace voting --ignore-not-found")?;
    ensure!(left.is_empty(), "the tutorial changed the cluster");
    Ok(())
}

/// Starts a cluster and presses Ctrl-C when it prints this line.
fn interrupt_at(line: &str) -> anyhow::Result<()> {
    let mut up = cargo_xtask(&["cluster", "up"]).process_group(0).stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(up.stdout.take().context("no output")?);
    for printed in output.lines() {
        if printed?.trim_end() == line {
            // The stage takes seconds; this is in the middle of it.
            std::thread::sleep(Duration::from_secs(1));
            let group = format!("-{}", up.id());
            ensure!(Command::new("kill").args(["-INT", "--", &group]).status()?.success(), "kill");
            ensure!(!up.wait()?.success(), "the start ignored Ctrl-C");
            return Ok(());
        }
    }
    bail!("the start ended before {line:?}")
}

/// Waits until no process of the cluster is left, nor one in these namespaces.
fn nothing_runs(known: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let left = processes()
            .into_iter()
            .filter(|process| belongs(process) || !namespaces(process).is_disjoint(known))
            .collect::<Vec<_>>();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "these processes are left: {left:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Whether a process is in a cgroup of the cluster, or its command names the cluster's folder.
fn belongs(process: &std::path::Path) -> bool {
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    let cgroups = std::fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    let Ok(state) = state() else { return false };
    let folder = state.parent().unwrap_or(&state).to_string_lossy().into_owned();
    cgroups.contains("/voting-cluster") || String::from_utf8_lossy(&line).contains(&folder)
}

/// The folder of everything that the cluster writes.
fn state() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let target = this.ancestors().nth(2).context("this program is not in a target directory")?;
    Ok(target.join("cluster/state"))
}

/// The process that holds the node's namespaces.
fn node() -> anyhow::Result<String> {
    std::fs::read_to_string(state()?.join("pid")).context("the cluster has no process")
}

fn in_cluster(command: &str) -> anyhow::Result<String> {
    let mut arguments = vec!["cluster", "run"];
    arguments.extend(command.split(' '));
    xtask(&arguments)
}

fn xtask(arguments: &[&str]) -> anyhow::Result<String> {
    let output = cargo_xtask(arguments).stderr(Stdio::piped()).output()?;
    let (printed, errors) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "cargo xtask {} failed:\n{printed}{errors}", arguments.join(" "));
    Ok(printed)
}

fn cargo_xtask(arguments: &[&str]) -> Command {
    // A shell without job control has its background commands ignore Ctrl-C, and so does all that these start.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", "cargo", "xtask"]).args(arguments).stdin(Stdio::null());
    command
}
