//! What the HTTP services share.
//!
//! - [`config`]: the settings that every service has.
//! - [`program`]: a service from its start to its exit code; [`check`]: whether one is ready.
//! - [`server`]: serving connections, with limits, until the shutdown. [`common`]: what holds for every request.
//! - [`lifecycle`]: ready, draining, gone; the signals that start the shutdown.
//! - [`admin`]: the port for the operator: `/livez`, `/readyz`, `/metrics`.
//! - [`metrics`]: what is counted and timed.
//! - [`observe`]: every request counted, timed, logged, and part of a trace.
//! - [`telemetry`]: the log, and the export of traces; [`trace`]: what carries a trace from call to call.
//! - [`feature_flag`]: the cookie by which the mesh picks a release.
//! - [`serving_path`]: the header `x-voting-path`, which names the releases that served a response.

pub mod admin;
pub mod check;
pub mod common;
pub mod config;
pub mod feature_flag;
mod json_log;
pub mod lifecycle;
pub mod metrics;
pub mod observe;
pub mod program;
pub mod server;
pub mod serving_path;
pub mod telemetry;
pub mod trace;
