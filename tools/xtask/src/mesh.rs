//! `cargo xtask mesh`: the manifests on Istio's control plane and a real Envoy.

use std::process::Command;

use crate::command::step;
use crate::{command, go, install, workspace};

/// Installs the requirements of the check, builds the programs, and runs it.
pub fn run() -> anyhow::Result<()> {
    step("Redis, MariaDB and curl", || {
        install::servers()?;
        if install::is_installed(&["curl"]) { Ok(()) } else { install::packages(&["curl"]) }
    })?;
    let envoy = step("Envoy", install::envoy)?;
    let programs = step("the programs", workspace::programs)?;
    let directory = workspace::root().join("tests/mesh");
    step("Istio's control plane (takes minutes the first time)", || go::compile(&directory))?;
    step("the check", || {
        command::run(
            Command::new(programs.join("with-servers"))
                .args(["go", "test", "-count=1", "-timeout=10m", "-v", "./..."])
                .current_dir(&directory)
                .env("ENVOY", &envoy)
                .env("VOTING_BINARIES", &programs),
        )
    })
}
