//! The traits that a backend implements: how to connect, and one attempt of each operation on a connection.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use voting_core::{Ballot, Cast, Snapshot, StoreKind, Tally};

use crate::store::StoreError;

/// One kind of store, and the poll in it.
#[async_trait]
pub(crate) trait Backend: Send + Sync + 'static {
    type Session: Session;

    const KIND: StoreKind;
    /// Connections that cast ballots, and so batches of ballots that may be in flight at the same time.
    const CAST_CONNECTIONS: u8;
    /// While fewer ballots than this are in flight, a further batch may start.
    const PARALLEL_BELOW: usize;

    /// Connects to the store and makes it ready: its schema is created or updated, if it has one.
    async fn connect(&self) -> Result<Self::Session, StoreError>;
}

/// One connection. Each method is one attempt; after an error or a timeout the session is dropped.
///
/// (`async_trait`, because sqlx's futures are not `Send` for every lifetime, as an `impl Future + Send` must be.)
#[async_trait]
pub(crate) trait Session: Send + 'static {
    /// Counts these ballots: all of them or, on an error other than `Unconfirmed`, none. They are sorted by id, and no
    /// two ids are equal. The caller gives up at `until`; a store that can tell the time must not count them later.
    async fn cast(&mut self, ballots: &[Ballot], until: Instant) -> Result<Vec<Cast>, StoreError>;

    /// Probes a connection that was idle.
    async fn is_alive(&mut self) -> bool;

    async fn tally(&mut self) -> Result<Tally, StoreError>;

    /// Resets both choices. The caller gives up at `until`, as in [`Session::cast`].
    async fn reset(&mut self, until: Instant) -> Result<(), StoreError>;

    /// Reads all counters, and writes nothing once the store has an origin.
    async fn snapshot(&mut self) -> Result<Snapshot, StoreError>;

    /// Merges counters. The caller gives up at `until`, as in [`Session::cast`].
    async fn merge(&mut self, snapshot: &Snapshot, until: Instant) -> Result<(), StoreError>;

    /// Deletes a bounded number of ids that were created before this time since the Unix epoch. Returns whether more
    /// may be left. Stores that expire ids on their own do nothing.
    async fn purge_expired(&mut self, created_before: Duration) -> Result<bool, StoreError>;
}
