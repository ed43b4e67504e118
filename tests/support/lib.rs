//! The harness of the tests: real servers, the services on them, and the faults that are put between.
//!
//! - [`servers`]: a Redis and a MySQL or MariaDB, from the environment, Docker or the `PATH`.
//! - [`proxy`]: a connection that can be cut.
//! - [`process`]: the system's own programs as child processes.
//! - [`ledger`]: a load of votes in which every ballot is accounted for.
//! - [`faults`]: a cluster of the programs behind a [`balancer`], and what can be done to it.
//! - [`compose`]: the containers of `docker compose up`.
//! - [`deployment`]: the programs together. [`http`]: a visitor of the page. [`browser`]: one with a real browser.

pub mod balancer;
pub mod browser;
pub mod compose;
pub mod deployment;
pub mod faults;
pub mod http;
pub mod ledger;
pub mod process;
pub mod proxy;
pub mod servers;
mod watchdog;

use std::future::Future;
use std::time::{Duration, Instant};

/// Waits until something holds, and fails with what was waited for after `limit`.
pub async fn eventually<F: Future<Output = bool>>(what: &str, limit: Duration, check: impl Fn() -> F) {
    let start = Instant::now();
    while !check().await {
        assert!(start.elapsed() < limit, "after {limit:?} still not so: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
