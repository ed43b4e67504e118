//! `cargo xtask test`: the README's test command.

use std::process::Command;

use anyhow::Context as _;
use clap::Args;

use crate::setup;

/// What goes on to `cargo test`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Arguments of `cargo test`, as in `cargo xtask test -- --test storage`.
    #[arg(last = true)]
    cargo: Vec<String>,
}

/// Gets the servers that the tests need, then runs the tests.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    setup::servers()?;
    setup::prometheus()?;
    setup::run(Command::new("cargo").args(["test", "--workspace"]).args(&arguments.cargo))
        .context("cargo test")
}
