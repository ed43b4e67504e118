//! `cargo xtask doctor`: whether a cluster has what the tutorial needs.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use clap::Args;

use crate::workspace;

/// Arguments of `cargo xtask doctor`.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub struct DoctorArgs {
    /// Arguments of the script; see --help.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    script: Vec<String>,
}

/// Runs the script, which takes the place of this process: signals and its exit code are its own.
pub fn run(arguments: &DoctorArgs) -> anyhow::Result<()> {
    let script = workspace::root().join("k8s/doctor.sh");
    Err(Command::new("sh").arg(&script).args(&arguments.script).exec())
        .with_context(|| script.display().to_string())
}
