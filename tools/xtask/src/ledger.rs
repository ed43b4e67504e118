//! `cargo xtask ledger`: the vote ledger.

use std::process::Command;

use clap::Args;

use crate::{command, install, workspace};

/// Arguments of `cargo xtask ledger`.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub struct LedgerArgs {
    /// Arguments of the ledger; see --help.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    ledger: Vec<String>,
}

/// Runs a debug build of the ledger, which does not measure speed.
pub fn run(arguments: &LedgerArgs) -> anyhow::Result<()> {
    if arguments.ledger.iter().any(|argument| argument == "--faults" || argument == "--nemesis") {
        install::servers()?;
    }
    let programs = workspace::programs()?;
    command::run(Command::new(programs.join("ledger")).args(&arguments.ledger))
}
