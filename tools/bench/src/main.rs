//! The benchmark: `cargo xtask bench` builds it and the services for speed and starts `voting-bench run`.
//!
//! - [`baseline`]: the small programs that do only the unavoidable.
//! - [`load`]: the load, a process of its own.
//! - [`target`]: a program under load. [`run`]: the whole measurement, in alternating rounds.
//! - [`report`]: the table, and `docs/benchmarks.md`.

mod baseline;
mod load;
mod report;
mod run;
mod target;
mod viewers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures the voting system against the limits of the machine.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Measure everything, print one table and write the report.
    Run(run::Arguments),
    /// A program that does only the unavoidable (started by `run`).
    Baseline(baseline::Arguments),
    /// A load on one address (started by `run`).
    Load(load::Arguments),
    /// Live viewers of one address (started by `run`).
    Viewers(viewers::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments).await,
        Command::Baseline(arguments) => baseline::serve(&arguments).await,
        Command::Load(arguments) => load::run(&arguments).await,
        Command::Viewers(arguments) => viewers::run(&arguments).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("voting-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
