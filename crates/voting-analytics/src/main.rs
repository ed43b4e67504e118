//! `voting-analytics`, the program.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match voting_config::parse() {
        Ok(cli) => voting_analytics::run(cli).await,
        Err(error) => Err(error.into()),
    };
    voting_http::program::exit_code("voting-analytics", done)
}
