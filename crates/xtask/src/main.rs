//! The project's own commands.

mod compose_test;
mod images;
mod ledger;
mod mesh;
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
    /// Cast votes and account for each one; with --faults, through every fault.
    Ledger(ledger::Arguments),
    /// Build all container images; needs a Docker engine.
    Images,
    /// Build the images and take `docker compose up` through the steps and through restarts, with votes.
    ComposeTest,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Test(arguments) => test::run(&arguments),
        Command::Mesh => mesh::run(),
        Command::Ledger(arguments) => ledger::run(&arguments),
        Command::Images => images::run(),
        Command::ComposeTest => compose_test::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
