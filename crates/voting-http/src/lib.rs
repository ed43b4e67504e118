//! The HTTP kit of the services.
//!
//! - [`program`]: a service from its start to its exit code; [`check`]: the subcommand of health checks.
//! - [`config`]: settings of every service.
//! - [`listener`]: listening ports; [`server`]: the accept loop, with limits of time, size and number; [`layer`]: the layer
//!   around all routes.
//! - [`host`]: the hosts that a port on this machine answers to; [`forwarded`]: what proxies say about a request.
//! - [`origin`]: protection against forms of other sites, except those of [`trusted_origins`].
//! - [`page`]: HTML as a response; [`asset`]: the files of pages.
//! - [`lifecycle`]: running, draining, closing; the signals that start the shutdown.
//! - [`admin`]: the operator's port.
//! - [`observe`]: metrics, log line and span of each request.
//! - [`telemetry`]: log and trace export of a process; [`trace`]: trace context between services.
//! - [`other_votes`]: the report of votes of choices that are not on the poll.
//! - [`cookies`]: those of a request; [`feature_flag`]: the one by which the mesh selects a release.
//! - [`serving_path`]: the header that names the serving releases.
//! - [`retry`]: the headers about a proxy's retries.
//!
//! Internal modules: `connection` bounds a connection's memory and time; `metrics` holds the HTTP metrics; `log` writes the log without blocking and `json_log` formats it;
//! `otlp` exports traces.

pub mod admin;
pub mod asset;
pub mod check;
pub mod config;
mod connection;
pub mod cookies;
pub mod feature_flag;
pub mod forwarded;
pub mod host;
mod json_log;
pub mod layer;
pub mod lifecycle;
pub mod listener;
mod log;
mod metrics;
pub mod observe;
pub mod origin;
pub mod other_votes;
mod otlp;
pub mod page;
pub mod program;
mod propagation;
pub mod retry;
pub mod server;
pub mod serving_path;
pub mod telemetry;
pub mod trace;
pub mod trusted_origins;
