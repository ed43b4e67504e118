//! `cargo xtask rollouts`: the automated canary on Argo Rollouts' own code.

use std::process::Command;

use crate::command::step;
use crate::{command, go, workspace};

/// Builds the check and runs it.
pub fn run() -> anyhow::Result<()> {
    let directory = workspace::root().join("tests/rollouts");
    step("Argo Rollouts (takes minutes the first time)", || go::compile(&directory, &[]))?;
    step("the check", || {
        command::run(
            Command::new("go")
                .args(["test", "-count=1", "-timeout=5m", "-v", "./..."])
                .current_dir(&directory),
        )
    })
}
