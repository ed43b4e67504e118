//! `cargo xtask tutorial`: the tutorial, word for word, on a real cluster.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use clap::Args;

use crate::workspace;

/// Arguments of `cargo xtask tutorial`.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub struct TutorialArgs {
    /// Arguments of the run; see --help.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    tutorial: Vec<String>,
}

/// Runs the tutorial, which takes the place of this process: signals reach it directly.
pub fn run(arguments: &TutorialArgs) -> anyhow::Result<()> {
    let program = workspace::programs()?.join("tutorial");
    Err(Command::new(&program).args(&arguments.tutorial).exec())
        .with_context(|| program.display().to_string())
}
