//! Bad releases: faults that an operator has a service inject (`FAULTS`), to rehearse a canary that fails.
//!
//! - [`grammar`]: the setting, [`FaultPlan`]. The table of [`Fault`]s says which program can have which.
//! - [`Faults`]: the faults of a running program, their draws and metrics.
//! - [`requests`]: errors, latency, slow start, crash and memory leak of the public port.
//! - [`probes`]: the answers of `/readyz` and `/livez`.
//! - [`store`]: acknowledged ballots that are lost, and ballots that count twice.
//! - [`summary`]: results that don't add up.
//!
//! Without `FAULTS` a program has no [`Faults`], and nothing is added to the path of a request or of a ballot. No request can
//! switch a fault on.
//!
//! Internal module: `draw` decides by the seed which requests a fault hits.

mod draw;
mod faults;
pub mod grammar;
pub mod probes;
pub mod requests;
pub mod store;
pub mod summary;

pub use faults::Faults;
pub use grammar::{Component, Fault, FaultPlan, InvalidFaults};
