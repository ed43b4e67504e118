//! The trait that services count votes through, its errors and its timeouts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use voting_core::{Ballot, Cast, Snapshot, StoreKind, Tally};

/// A store of votes. Every call ends within [`Timeouts::deadline`]; every method may be called again after an error.
#[async_trait]
pub trait VoteStore: Send + Sync + 'static {
    /// The backend.
    fn kind(&self) -> StoreKind;

    /// Counts a ballot. `Ok` means that the vote is stored.
    async fn cast(&self, ballot: Ballot) -> Result<Cast, StoreError>;

    /// Reads the votes of both choices at one moment that is not before the call, in constant time.
    async fn tally(&self) -> Result<Tally, StoreError>;

    /// Deletes all votes of both choices at once. Ballot ids stay known: a ballot that was counted before the reset does
    /// not count again after it.
    async fn reset(&self) -> Result<(), StoreError>;

    /// Checks that the store answers.
    async fn ping(&self) -> Result<(), StoreError> {
        self.tally().await.map(drop)
    }

    /// Reads all counters, for a transfer or a backup.
    async fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// Merges the counters of another store, atomically per choice. Merging again changes nothing.
    async fn merge(&self, snapshot: &Snapshot) -> Result<(), StoreError>;
}

/// Why a call failed, sorted by what is certain about its effect. The texts are for logs, not for voters.
///
/// The cause is kept as text, not as a source: drivers' errors may repeat a URL with its password, so every backend
/// decides what may be shown, and nothing prints the rest of the chain.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is unreachable or rejected the request: it had no effect and never will.
    #[error("store unavailable: {0}")]
    Unavailable(Arc<str>),
    /// The request was sent, but no answer arrived: a write may have taken effect. Casting the same ballot again
    /// settles it.
    #[error("store did not confirm: {0}")]
    Unconfirmed(Arc<str>),
    /// The store answers but is unusable as a store of votes (missing permission, foreign data): a retry won't help.
    /// The request had no effect.
    #[error("store unusable: {0}")]
    Unusable(Arc<str>),
}

impl StoreError {
    pub(crate) fn unavailable(cause: impl fmt::Display) -> Self {
        Self::Unavailable(cause.to_string().into())
    }

    pub(crate) fn unconfirmed(cause: impl fmt::Display) -> Self {
        Self::Unconfirmed(cause.to_string().into())
    }

    pub(crate) fn unusable(cause: impl fmt::Display) -> Self {
        Self::Unusable(cause.to_string().into())
    }

    /// The label of the error in metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Unconfirmed(_) => "unconfirmed",
            Self::Unusable(_) => "unusable",
        }
    }
}

/// How long a store may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a call, retries included.
    pub deadline: Duration,
    /// For one attempt, the connection included.
    pub attempt: Duration,
    /// For a connection.
    pub connect: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(3),
            attempt: Duration::from_secs(2),
            connect: Duration::from_secs(1),
        }
    }
}
