//! The paths of the workspace, and its builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::command;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("xtask is in tools/").to_owned()
}

/// The target directory of cargo, which contains this program in the folder of its profile.
pub fn target() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("unknown path of this program")?;
    this.ancestors().nth(2).map(Path::to_owned).context("this program is not in a target directory")
}

/// `cargo` without the variables that the cargo of this program has set. They would make build scripts that read them run
/// again, and then everything that depends on those would be rebuilt.
pub fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Builds all programs and returns their folder. One build for all: cargo would choose other features for the dependencies
/// of a single package and build them again.
pub fn programs() -> anyhow::Result<PathBuf> {
    command::run(cargo().args(["build", "--quiet", "--locked", "--workspace", "--bins"]))?;
    Ok(target()?.join("debug"))
}
