//! The project's own commands.

mod bench;
mod compose_test;
mod go;
mod images;
mod ledger;
mod mesh;
mod rollouts;
mod screenshots;
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
    /// Measure the services against the limits of this machine (release build; 20 minutes).
    Bench(bench::Arguments),
    /// Ask Argo Rollouts' own code what its files in rollouts/ do.
    Rollouts,
    /// Cast votes and account for each one; with --faults, through every fault.
    Ledger(ledger::Arguments),
    /// Take the pictures in docs/images anew, in a real browser.
    Screenshots,
    /// Build all container images; needs a Docker engine.
    Images,
    /// Build the images and take `docker compose up` through the steps and through restarts, with votes.
    ComposeTest,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Test(arguments) => test::run(&arguments),
        Command::Mesh => mesh::run(),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Rollouts => rollouts::run(),
        Command::Ledger(arguments) => ledger::run(&arguments),
        Command::Screenshots => screenshots::run(),
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
