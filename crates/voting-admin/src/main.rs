//! `voting-storage`, the operator's tool.

mod cli;

use std::io::Write as _;
use std::process::ExitCode;

use clap::CommandFactory as _;
use tracing::Level;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = std::env::var("RUST_LOG").ok().and_then(|filter| filter.parse().ok());
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(Level::ERROR));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter);
    tracing_subscriber::registry().with(log).init();
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
