//! The program `voting-local`, which `cargo run` starts.

use std::process::ExitCode;

fn main() -> ExitCode {
    voting_http::program::main("voting-local", voting_local::run)
}
