//! Runs a command with an empty Redis and an empty MySQL or MariaDB.
//!
//! Their URLs are in `TEST_REDIS_URL` and `TEST_MYSQL_URL`.

use std::process::{Command, ExitCode};

use voting_tests::servers::{MySql, Redis};

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("with-servers COMMAND [ARGUMENT]...");
        return ExitCode::FAILURE;
    };
    let redis = Redis::own().await;
    let mysql = MySql::own().await;
    let mut command = Command::new(program);
    command.args(arguments).env("TEST_REDIS_URL", redis.url()).env("TEST_MYSQL_URL", mysql.url());
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("with-servers: {command:?} ended with {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("with-servers: cannot start {command:?}: {error}");
            ExitCode::FAILURE
        }
    }
}
