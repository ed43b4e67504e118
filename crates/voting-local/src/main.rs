//! The program `voting-local`, which `cargo run` starts.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    voting_http::program::main("voting-local", voting_local::run).await
}
