//! What the HTTP services share.
//!
//! - [`release`]: the table of what each release of each component is.
//! - [`config`]: the settings that every service has.
//! - [`server`]: serving connections, with limits, until the shutdown.
//! - [`lifecycle`]: ready, draining, gone; the signals that start the shutdown.
//! - [`admin`]: the port for the operator: `/livez`, `/readyz`, `/metrics`.
//! - [`metrics`]: what is counted and timed.
//! - [`telemetry`]: the log.
//! - [`feature_flag`]: the cookie by which the mesh picks a release.
//! - [`headers`]: the headers that name the serving releases and carry a trace onwards.

pub mod admin;
pub mod config;
pub mod feature_flag;
pub mod headers;
pub mod lifecycle;
pub mod metrics;
pub mod release;
pub mod server;
pub mod telemetry;

use std::fmt::Display;
use std::process::ExitCode;

/// The exit code of a program that ended like this; what went wrong goes to the standard error in one line.
pub fn exit_code(program: &str, done: Result<(), impl Display>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
