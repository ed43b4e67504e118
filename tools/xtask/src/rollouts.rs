//! `cargo xtask rollouts`: the automated canary, judged by Argo Rollouts' own code.

use std::process::Command;

use crate::setup::step;
use crate::{go, setup};

/// Builds the check and runs it.
pub fn run() -> anyhow::Result<()> {
    let directory = setup::repository().join("tests/rollouts");
    step("Argo Rollouts (minutes, the first time)", || go::compile(&directory))?;
    step("the check", || {
        setup::run(
            Command::new("go")
                .args(["test", "-count=1", "-timeout=5m", "-v", "./..."])
                .current_dir(&directory),
        )
    })
}
