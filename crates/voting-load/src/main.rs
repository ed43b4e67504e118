//! `voting-load`: see `--help`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    voting_load::program::main().await
}
