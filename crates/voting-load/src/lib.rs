//! The vote ledger: a load of real votes that records the outcome of each ballot and verifies it.
//!
//! During the load, voters cast ballots and read the page. During the audit, every ballot is cast once more, and the
//! response says whether it had been counted. So each single ballot is accounted for, not only the sum. The poll should
//! have no other voters meanwhile.
//!
//! The sides of a canary have stores of their own, and a voter's cookies decide on which side it is. So results are
//! compared, and ballots audited, store by store, by voters on that side.
//!
//! - [`Plan`]: the parameters of a load. [`Plan::start`] runs it, [`Progress`] watches and stops it.
//! - [`Report`]: the account, by release. [`Doubt`]: what it can't tell.
//! - [`Client`]: a voter's HTTP client. [`LoadMetrics`]: the metrics of a load.
//! - [`Pace`]: the rate of a load, which may change. [`Picture`]: where its requests go. [`split`]: the page that shows the
//!   one and changes the other.
//! - `cli`, `program`: the program `voting-load`. `progress`: its progress on the standard error.

mod audit;
mod book;
#[cfg(feature = "program")]
pub mod cli;
mod client;
mod doubt;
mod metrics;
mod outcome;
mod pace;
mod page;
mod picture;
mod plan;
#[cfg(feature = "program")]
pub mod program;
#[cfg(feature = "program")]
pub mod progress;
mod report;
mod run;
mod sides;
pub mod split;
mod voter;

pub use client::{Answer, CastOutcome, Client, Releases};
pub use doubt::Doubt;
pub use metrics::LoadMetrics;
pub use outcome::BallotOutcome;
pub use pace::Pace;
pub use page::VoteCounts;
pub use picture::Picture;
pub use plan::{Forms, Plan, Progress, Voting};
pub use report::{Account, Report};
pub use run::run;
pub use voter::GAVE_UP;
