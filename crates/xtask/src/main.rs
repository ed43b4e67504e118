//! The project's own commands.

mod go;
mod ledger;
mod mesh;
mod rollouts;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Get what this machine lacks for the tests, then run all of them.
    Test(test::Arguments),
    /// Ask Istio's own code what the manifests do, and run the tutorial against a real Envoy.
    Mesh,
    /// Ask Argo Rollouts' own code what its files in rollouts/ do.
    Rollouts,
    /// Cast votes and account for each one; with --faults, through every fault.
    Ledger(ledger::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Test(arguments) => test::run(&arguments),
        Command::Mesh => mesh::run(),
        Command::Rollouts => rollouts::run(),
        Command::Ledger(arguments) => ledger::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
