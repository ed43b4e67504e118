//! `cargo xtask ledger`: the vote ledger, a program of the tests.

use std::process::Command;

use clap::Args;

use crate::setup;

/// What goes on to the ledger.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// Arguments of the ledger; --help lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    ledger: Vec<String>,
}

/// Runs the ledger as the tests' build has it: it accounts for votes and does not measure speed.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.ledger.iter().any(|argument| argument == "--faults") {
        setup::servers()?;
    }
    let programs = setup::programs()?;
    setup::run(Command::new(programs.join("ledger")).args(&arguments.ledger))
}
