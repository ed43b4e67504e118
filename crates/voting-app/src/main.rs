//! `voting-app`, the program.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match voting_storage::config::parse() {
        Ok(config) => voting_app::run(config).await,
        Err(error) => Err(error.into()),
    };
    voting_service::program::exit_code("voting-app", done)
}
