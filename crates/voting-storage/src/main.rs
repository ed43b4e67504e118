//! `voting-storage`, the operator's tool.

mod cli;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let done = match voting_storage::config::parse() {
        Ok(settings) => cli::run(settings).await,
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("voting-storage: {error:#}");
            ExitCode::FAILURE
        }
    }
}
