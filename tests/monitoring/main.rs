//! What an operator sees in the cluster: the dashboard and the rules of `monitoring/`, and the analyses of `rollouts/`.
//!
//! - [`documents`]: the files, strictly; every alert has a section in the runbook.
//! - [`queries`]: every query of these files, parsed; the rules as a file for Prometheus.
//! - [`live`]: every metric, label and value that a query names is in the `/metrics` of the real services.
//! - [`prometheus`]: promtool's unit tests of the rules, and a real Prometheus that scrapes the real services.
//! - [`traffic`]: services that have seen everything that can happen to a vote.

mod documents;
mod live;
mod prometheus;
mod queries;
mod traffic;

use std::path::{Path, PathBuf};

/// A file of the repository.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// A text file of the repository.
fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
