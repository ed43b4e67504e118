//! `cargo xtask test`: the README's test command.

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

/// Gets the servers and the browser that the tests need, then runs the tests.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    setup::servers()?;
    setup::browser()?;
    setup::prometheus()?;
    setup::run(setup::cargo().args(["test", "--workspace"]).args(&arguments.cargo)).context("cargo test")
}
