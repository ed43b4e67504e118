//! `cargo xtask cluster-test`: tests of the cluster, and of the voting app on it.

use std::process::Command;

use clap::{Args, ValueEnum};

use crate::cluster::{self, ClusterCommand};
use crate::{command, install, rollouts, workspace};

/// The source of the autoscaler's metrics.
const METRICS_SERVER: &str = "sigs.k8s.io/metrics-server/cmd/metrics-server@v0.9.0";

/// The module of Flagger.
const FLAGGER: &str = "github.com/fluxcd/flagger";
const FLAGGER_VERSION: &str = "v1.44.0";

/// Arguments of `cargo xtask cluster-test`.
#[derive(Args, Debug)]
pub struct ClusterTestArgs {
    /// The tests; default: all.
    suites: Vec<Suite>,
    /// With `rollouts`: the whole list of faults, which takes an hour, and nothing else.
    #[arg(long)]
    all_faults: bool,
}

/// A group of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// The cluster starts once, is removed completely, and an interrupted start leaves nothing running.
    Lifecycle,
    /// Who reaches whom after each step of the tutorial, and the certificates of the pods.
    Access,
    /// HTTPS at the gateway of each track, step by step, in a browser.
    Https,
    /// The steps of the Gateway API's track without a mesh, under votes.
    Approuting,
    /// The preflight script finds each fault of a cluster.
    Doctor,
    /// Pods deleted, evicted and killed under votes.
    Faults,
    /// The autoscaler adds pods under load and removes them.
    Autoscaler,
    /// A Prometheus outside of the mesh, with the alert rules.
    Prometheus,
    /// The exercises of docs/rehearsals.md, under votes.
    Rehearsals,
    /// The real Argo Rollouts promotes a good release and takes bad ones back.
    Rollouts,
    /// The real Flagger releases on both tracks, and voters account for it.
    Flagger,
    /// An upgrade of Istio by revision, under votes.
    Upgrade,
}

/// Runs the tests. The cluster that they create is kept for the next run.
pub fn run(arguments: &ClusterTestArgs) -> anyhow::Result<()> {
    let suites = if arguments.suites.is_empty() { Suite::value_variants() } else { &arguments.suites };
    let program = workspace::programs()?.join("cluster-test");
    for suite in suites {
        match suite {
            Suite::Lifecycle => {
                // The test needs them to see the state of the machine, before the first cluster installs them.
                cluster::install_packages()?;
                command::run(Command::new(&program).arg("lifecycle"))?;
            }
            Suite::Access => cluster::run_on_cluster(&program, &["access"])?,
            Suite::Https => {
                install::browser()?;
                cluster::run_on_cluster(&program, &["https"])?;
            }
            Suite::Approuting => cluster::run_on_cluster(&program, &["approuting"])?,
            Suite::Doctor => cluster::run_on_cluster(&program, &["doctor"])?,
            Suite::Faults => cluster::run_on_cluster(&program, &["faults"])?,
            Suite::Autoscaler => {
                cluster::install(METRICS_SERVER)?;
                cluster::run_on_cluster(&program, &["autoscaler"])?;
            }
            Suite::Prometheus => {
                install::prometheus()?;
                cluster::run_on_cluster(&program, &["prometheus"])?;
            }
            Suite::Rehearsals => cluster::run_on_cluster(&program, &["rehearsals"])?,
            Suite::Rollouts => {
                install::prometheus()?;
                let definitions = rollouts::controller()?.join("manifests/crds");
                let definitions = definitions.to_string_lossy();
                let mut command = vec!["rollouts", &definitions];
                command.extend(arguments.all_faults.then_some("--all-faults"));
                cluster::run_on_cluster(&program, &command)?;
            }
            Suite::Flagger => {
                install::prometheus()?;
                cluster::install(&format!("{FLAGGER}/cmd/flagger@{FLAGGER_VERSION}"))?;
                let module = format!("{FLAGGER}@{FLAGGER_VERSION}");
                let sources =
                    command::output(Command::new("go").args(["list", "-m", "-f", "{{.Dir}}", &module]))?;
                let definitions = format!("{}/artifacts/flagger/crd.yaml", sources.trim());
                cluster::run_on_cluster(&program, &["flagger", &definitions])?;
            }
            Suite::Upgrade => {
                let done = cluster::run_on_cluster(&program, &["upgrade"]);
                // It has Istio under another name now.
                cluster::run(&ClusterCommand::Down)?;
                done?;
            }
        }
    }
    Ok(())
}
