//! The test harness: real servers, the services on them, and fault injection.
//!
//! - [`servers`]: Redis and MySQL or MariaDB, from the environment, Docker or the `PATH`.
//! - [`store`]: stores and casts for tests that are not about deadlines.
//! - [`proxy`]: a connection that can be cut.
//! - [`reverse_proxy`]: nginx, HAProxy and Envoy in front of the page.
//! - [`clock`]: a process with a wrong clock.
//! - [`process`]: the system's programs as child processes.
//! - [`faults`]: a cluster of the programs behind a [`balancer`], and its faults.
//! - [`compose`]: the containers of `docker compose up`.
//! - [`deployment`]: the programs together. [`http`]: a visitor of the page. [`browser`]: a visitor with a real browser.
//! - [`tutorial`]: the command blocks of the tutorial. [`kubernetes`]: the cluster that they run on. [`load`]: voters beside them.
//! - [`resource`]: the common fields of Kubernetes resources.
//! - [`timing`]: waits and time limits. [`port`]: ports on loopback. [`file`]: files that others read, and the folders of the build.
//! - [`figure`]: what tests measure, for `docs/reliability.md`.

pub mod balancer;
pub mod browser;
pub mod clock;
pub mod compose;
pub mod deployment;
pub mod faults;
pub mod figure;
pub mod file;
pub mod http;
pub mod kubernetes;
pub mod load;
pub mod port;
pub mod process;
pub mod proxy;
pub mod resource;
pub mod reverse_proxy;
pub mod servers;
pub mod store;
pub mod timing;
pub mod tutorial;
mod watchdog;

pub use figure::figure;
pub use file::replace_file;
pub use port::{ClosedPort, free_port};
pub use timing::{PATIENCE, Stopwatch, eventually};
