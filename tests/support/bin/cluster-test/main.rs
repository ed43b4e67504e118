//! Tests of the cluster, and of the voting app on it. `cargo xtask cluster-test` runs them.

mod access;
mod approuting;
mod autoscaler;
mod controller;
mod doctor;
mod faults;
mod flagger;
mod https;
mod lifecycle;
mod machine;
mod metrics_api;
mod monitoring;
mod pods;
mod probe;
mod prometheus;
mod rehearsals;
mod rollouts;
mod steps;
mod upgrade;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use futures_util::FutureExt as _;
use voting_tests::tutorial::Track;

use steps::Steps;

/// Test the cluster of `cargo xtask cluster`, and the voting app on it.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask cluster-test")]
enum Suite {
    /// Starts, interrupts and removes the cluster; compares the machine before and after.
    Lifecycle,
    /// Checks who reaches whom after each step of the tutorial, and the certificates of the pods.
    Access,
    /// Takes the steps of each track with HTTPS at the gateway, and votes in a browser.
    Https,
    /// Takes the steps of the Gateway API's track without a mesh, under votes.
    Approuting,
    /// Has k8s/doctor.sh find each fault that it looks for.
    Doctor,
    /// Deletes, evicts and kills pods under votes.
    Faults,
    /// Has the autoscaler add and remove pods.
    Autoscaler,
    /// Scrapes the pods with a Prometheus outside of the mesh, and evaluates the alert rules.
    Prometheus,
    /// Runs the exercises of docs/rehearsals.md under votes.
    Rehearsals {
        /// Their numbers; default: all.
        exercises: Vec<usize>,
    },
    /// Has the real Argo Rollouts promote a good release and take bad ones back.
    Rollouts {
        /// The definitions of Argo Rollouts' resources.
        definitions: PathBuf,
        /// The whole list of faults, and nothing else.
        #[arg(long)]
        all_faults: bool,
    },
    /// Has the real Flagger release on both tracks.
    Flagger {
        /// The definitions of Flagger's resources.
        definitions: PathBuf,
    },
    /// Upgrades Istio by revision under votes.
    Upgrade,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Suite::parse() {
        Suite::Lifecycle => lifecycle::run(),
        Suite::Access => on_the_cluster(Track::Istio, access::run).await,
        Suite::Https => match on_the_cluster(Track::Istio, https::test).await {
            Ok(()) => on_the_cluster(Track::GatewayApi, https::test).await,
            failed => failed,
        },
        Suite::Approuting => on_the_cluster(Track::GatewayApi, approuting::run).await,
        Suite::Doctor => on_the_cluster(Track::Istio, doctor::run).await,
        Suite::Faults => on_the_cluster(Track::Istio, faults::run).await,
        Suite::Autoscaler => on_the_cluster(Track::Istio, autoscaler::run).await,
        Suite::Prometheus => on_the_cluster(Track::Istio, prometheus::run).await,
        Suite::Rehearsals { exercises } => {
            on_the_cluster(Track::Istio, async |steps| rehearsals::run(steps, &exercises).await).await
        }
        Suite::Rollouts { definitions, all_faults } => {
            let test = async |steps: &Steps| rollouts::run(steps, &definitions, all_faults).await;
            on_the_cluster(Track::Istio, test).await
        }
        Suite::Flagger { definitions } => flagger(&definitions).await,
        Suite::Upgrade => on_the_cluster(Track::Istio, upgrade::run).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster-test: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn flagger(definitions: &Path) -> anyhow::Result<()> {
    for track in [Track::Istio, Track::GatewayApi] {
        for to in [flagger::To::Flagged, flagger::To::Percentage] {
            on_the_cluster(track, async |steps: &Steps| flagger::run(steps, definitions, to).await).await?;
        }
    }
    Ok(())
}

/// Runs a test, or until Ctrl-C, and removes what it created.
async fn on_the_cluster(
    track: Track,
    test: impl AsyncFnOnce(&Steps) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let steps = Steps::new(track).await?;
    let done = tokio::select! {
        // A test that panics is cleaned up as well.
        done = AssertUnwindSafe(test(&steps)).catch_unwind() => {
            done.unwrap_or_else(|_| Err(anyhow::anyhow!("the test panicked")))
        }
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    // Cleaning up takes a while.
    if let Err(error) = &done {
        eprintln!("cluster-test: {error:#}");
    }
    done.and(steps.clean_up().await)
}
