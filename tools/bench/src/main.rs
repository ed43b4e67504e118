//! The benchmark: `cargo xtask bench` makes release builds and starts `voting-bench run`.
//!
//! - [`baseline`]: minimal baseline servers.
//! - [`load`]: the load generator, a separate process; [`open_loop`]: the one at a fixed rate. [`viewers`]: live viewers.
//! - [`target`]: starts these processes. [`run`]: the scenarios, in alternating rounds. [`poll`]: a poll of many ballots; [`ids`]:
//!   what an id costs in Redis.
//! - [`report`]: the table, and `docs/benchmarks.md`.

mod baseline;
mod ids;
mod load;
mod open_loop;
mod poll;
mod report;
mod run;
mod target;
mod viewers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Benchmark of the services against minimal baseline servers.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run all scenarios, print the table and update the document.
    Run(run::RunArgs),
    /// Serve as a baseline (started by `run`).
    Baseline(baseline::BaselineArgs),
    /// Generate load on one address (started by `run`).
    Load(load::LoadArgs),
    /// Send votes to one address at a fixed rate (started by `run`).
    OpenLoop(open_loop::OpenLoopArgs),
    /// Connect live viewers to one address (started by `run`).
    Viewers(viewers::ViewersArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match voting_config::parse::<Cli>() {
        Ok(cli) => run(cli.command).await,
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("voting-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(arguments) => run::run(&arguments).await,
        Command::Baseline(arguments) => baseline::serve(&arguments).await,
        Command::Load(arguments) => load::run(&arguments).await,
        Command::OpenLoop(arguments) => open_loop::run(&arguments).await,
        Command::Viewers(arguments) => viewers::run(&arguments).await,
    }
}
