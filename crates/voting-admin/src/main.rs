//! `voting-storage`, the operator's tool.

mod cli;

use std::io::Write as _;
use std::process::ExitCode;

use clap::CommandFactory as _;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let done = match voting_config::parse() {
        Ok(cli) => cli::run(cli).await,
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere to report a failed write to the standard error.
            let _ = writeln!(std::io::stderr(), "{}: {error:#}", cli::Cli::command().get_name());
            ExitCode::FAILURE
        }
    }
}
