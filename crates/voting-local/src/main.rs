//! `voting-local`, the program that `cargo run` starts.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match voting_storage::config::parse() {
        Ok(config) => voting_local::run(config).await,
        Err(error) => Err(error.into()),
    };
    voting_service::program::exit_code("voting-local", done)
}
