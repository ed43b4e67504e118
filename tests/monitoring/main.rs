//! Monitoring: the dashboard and the rules of `monitoring/`, and the analyses of `progressive-delivery/argo-rollouts`.
//!
//! - [`documents`]: strict parsing of the files; a runbook section for every alert.
//! - [`queries`]: all queries of these files; the rules as a file for Prometheus.
//! - [`live`]: the metrics of the real services have the names in the queries.
//! - [`prometheus`]: unit tests of the rules with promtool, and a real Prometheus that scrapes the real services.
//! - [`traffic`]: services with every possible outcome of a vote.

mod documents;
mod live;
mod prometheus;
mod queries;
mod traffic;

use std::path::{Path, PathBuf};

/// The path of a file of the repository.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// Reads a file of the repository.
fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
