//! `voting-storage`, the operator's tool.

mod cli;

use std::io::Write as _;
use std::process::ExitCode;

use clap::CommandFactory as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use voting_config::InvalidSetting;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere to report a failed write to the standard error.
            let _ = writeln!(std::io::stderr(), "{}: {error:#}", cli::Cli::command().get_name());
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let cli = start()?;
    voting_config::runtime()?.block_on(cli::run(cli))
}

/// Starts the log and reads the command.
fn start() -> Result<cli::Cli, InvalidSetting> {
    let filter = voting_config::log_filter("error")?;
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter);
    tracing_subscriber::registry().with(log).init();
    voting_config::parse()
}
