//! What a vote is and where it is kept. No HTTP here.
//!
//! - [`poll`]: the two choices, parsed from configuration; nothing else can be voted for.
//! - [`ballot`]: one vote with the id that makes it count exactly once.
//! - [`tally`]: what was counted, and the mergeable form in which stores exchange it.
//! - [`store`]: the trait [`VoteStore`] and its errors; [`open`] picks the backend by URL.
//! - [`transfer`]: bringing one store's votes into another, any number of times.
//! - [`lane`]: concurrent requests served as one group; used by every backend, and by voting-app for its reads.
//! - [`metrics`]: what a store's work is measured by.
//! - [`backup`]: a store as a file.
//! - [`config`]: the settings that name the poll and the store, and one-line errors for all settings.

pub mod backup;
pub mod ballot;
pub mod config;
mod grouped;
pub mod lane;
pub mod metrics;
mod mysql;
pub mod poll;
mod redis;
mod split;
mod sqlite;
pub mod store;
pub mod tally;
pub mod transfer;
mod url;

pub use ballot::{Ballot, BallotId, Cast};
pub use metrics::StoreMetrics;
pub use poll::{Category, Choice, Choices};
pub use store::{Limits, StoreError, StoreKind, VoteStore, open, open_with};
pub use tally::{Snapshot, Tally};
pub use url::{InvalidStoreUrl, StoreUrl};
