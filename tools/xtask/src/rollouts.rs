//! `cargo xtask rollouts`: the automated canary on Argo Rollouts' own code. And its controller, for a cluster.

use std::path::PathBuf;
use std::process::Command;

use crate::command::step;
use crate::{cluster, command, go, workspace};

/// The module with the check and the controller.
fn module() -> PathBuf {
    workspace::root().join("tests/rollouts")
}

/// Builds the check and runs it.
pub fn run() -> anyhow::Result<()> {
    let directory = module();
    step("Argo Rollouts (takes minutes the first time)", || go::compile(&directory, &[]))?;
    step("the check", || {
        command::run(
            Command::new("go")
                .args(["test", "-count=1", "-timeout=5m", "-v", "./..."])
                .current_dir(&directory),
        )
    })
}

/// Adds the controller and its plugin for kubectl to the cluster's programs. Returns the folder of their sources, which has the
/// definitions of the resources.
pub fn controller() -> anyhow::Result<PathBuf> {
    let output = format!("{}/", cluster::programs()?.display());
    step("Argo Rollouts (takes minutes the first time)", || {
        go::run(&module(), &["build", "-ldflags", "-s -w", "-o", &output, "tool"])
    })?;
    let sources = ["list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-rollouts"];
    let sources = command::output(Command::new("go").args(sources).current_dir(module()))?;
    Ok(sources.trim().into())
}
