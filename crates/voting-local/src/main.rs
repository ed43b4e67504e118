//! `voting-local`, the program that `cargo run` starts.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match voting_config::parse() {
        Ok(cli) => voting_local::run(cli).await,
        Err(error) => Err(error.into()),
    };
    voting_http::program::exit_code("voting-local", done)
}
