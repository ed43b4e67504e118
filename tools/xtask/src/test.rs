//! `cargo xtask test`: all tests, the fast ones, or the ones that a slow machine could break.

use anyhow::Context as _;
use clap::Args;

use crate::{command, install, starved, workspace};

/// Arguments of `cargo xtask test`.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Run only the tests that need no server or browser (one minute).
    #[arg(long, conflicts_with = "starved")]
    quick: bool,

    /// Run the tests of storage, services, voting-local and faults while three busy loops per core take the CPU.
    #[arg(long)]
    starved: bool,

    /// Number of starved runs.
    #[arg(long, value_name = "N", default_value_t = 10, requires = "starved", value_parser = runs)]
    runs: u32,

    /// Arguments of `cargo test`, as in `cargo xtask test -- --test storage`.
    #[arg(last = true, conflicts_with = "starved")]
    cargo: Vec<String>,
}

fn runs(text: &str) -> Result<u32, &'static str> {
    text.parse()
        .ok()
        .filter(|runs| *runs > 0)
        .ok_or("not a number of runs; allowed: a whole number from 1 to 4294967295")
}

/// Installs what the tests need, then runs them.
pub fn run(arguments: &TestArgs) -> anyhow::Result<()> {
    if arguments.starved {
        install::servers()?;
        install::proxies()?;
        return starved::run(arguments.runs);
    }
    let mut test = workspace::cargo();
    test.args(["test", "--workspace"]);
    if arguments.quick {
        test.args(["--exclude", "voting-tests"]);
    } else {
        install::servers()?;
        install::browsers()?;
        install::prometheus()?;
        install::proxies()?;
    }
    command::run(test.args(&arguments.cargo)).context("cargo test")
}
