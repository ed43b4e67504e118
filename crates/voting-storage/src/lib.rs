//! Stores of votes. No HTTP and no command line here.
//!
//! - [`VoteStore`]: the trait that services count votes through, its errors and timeouts. [`open()`] picks the backend.
//! - [`StoreUrl`]: the address of a store. [`is_unspecified`]: whether a host is none to connect to.
//! - [`PasswordFile`]: a password in a file, whose content may change. [`read_file`]: reads the file of a setting.
//!   [`Pem`]: the content of a file of certificates or keys.
//! - [`transfer`]: merges one store's votes into another, any number of times.
//! - [`backup`]: a store's counters as a file.
//! - [`StoreMetrics`]: metrics of a store's work.
//!
//! Inside: a backend (`redis`, `mysql`, `sqlite`) implements the traits in `backend`; `batched` makes a [`VoteStore`]
//! of it, with a few connections (`connection`) and retries (`retry`); `sharded` makes one store of several.

mod backend;
pub mod backup;
mod batched;
mod connection;
mod file;
mod metrics;
mod migrations;
#[cfg(feature = "mysql")]
mod mysql;
mod open;
#[cfg_attr(
    not(any(feature = "redis", feature = "mysql")),
    expect(dead_code, reason = "no other store has a password")
)]
mod password;
mod place;
mod purge;
#[cfg(any(feature = "redis", feature = "mysql"))]
mod race;
#[cfg(feature = "redis")]
mod redis;
mod retry;
mod sharded;
mod sqlite;
mod store;
#[cfg(any(feature = "redis", feature = "mysql"))]
mod tls;
pub mod transfer;
mod url;

pub use file::{Pem, read_file};
pub use metrics::{CALL_SECONDS, StoreMetrics};
pub use open::{open, open_with, wait_until_ready};
pub use password::PasswordFile;
pub use place::Place;
pub use store::{Finding, OtherVotes, Severity, StoreError, Timeouts, VoteStore};
pub use url::{InvalidStoreUrl, MAX_HOST, MYSQL_SSL_MODES, StoreUrl, is_unspecified};
