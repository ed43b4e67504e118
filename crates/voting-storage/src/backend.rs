//! The traits that a backend implements: how to connect, and one attempt of each operation on a connection.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use voting_core::tally::Origin;
use voting_core::{Ballot, Cast, Snapshot, StoreKind, Tally};

use crate::place::Place;
use crate::store::{Finding, OtherVotes, StoreError};

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

    /// Does everything that casting these ballots does, and leaves no trace of it.
    async fn probe(&mut self, ballots: &[Ballot], until: Instant) -> Result<(), StoreError>;

    /// Whether the password of the store is in a file, whose content may change.
    fn may_renew_login(&self) -> bool {
        false
    }

    /// Logs in again, if the password has changed. Returns whether this session may be used further; otherwise a new one takes
    /// its place.
    async fn renew_login(&mut self) -> bool {
        true
    }

    /// Probes a connection that was idle.
    async fn is_alive(&mut self) -> bool;

    async fn tally(&mut self) -> Result<Tally, StoreError>;

    /// The votes of choices that are not on the poll, by name.
    async fn other_votes(&mut self) -> Result<OtherVotes, StoreError>;

    /// Resets both choices. The caller gives up at `until`, as in [`Session::cast`].
    async fn reset(&mut self, until: Instant) -> Result<(), StoreError>;

    /// Reads all counters, and writes nothing once the store has an origin.
    async fn snapshot(&mut self) -> Result<Snapshot, StoreError>;

    /// Merges counters. The caller gives up at `until`, as in [`Session::cast`].
    async fn merge(&mut self, snapshot: &Snapshot, until: Instant) -> Result<(), StoreError>;

    /// Looks ballots up after casting them failed on this session. Writes nothing, so it also works on a full or
    /// read-only store.
    async fn find(&mut self, ballots: &[Ballot]) -> Result<Found, StoreError>;

    /// Measures the store's clock, and reports the properties of the store that endanger its promises.
    async fn inspect(&mut self) -> Result<Vec<Finding>, StoreError>;

    /// Reads the times that decide which ids have expired.
    async fn purge_times(&mut self) -> Result<PurgeTimes, StoreError>;

    /// The identity of the store, of which each copy has the same. Creates it if necessary and possible.
    async fn identity(&mut self) -> Result<Option<Origin>, StoreError>;

    /// The origin of the votes that are cast here, if it has one yet. Writes nothing.
    async fn origin(&mut self) -> Result<Option<Origin>, StoreError>;

    /// Gives the store another identity and origin. Its votes so far keep theirs.
    async fn renew_origin(&mut self) -> Result<(), StoreError>;

    /// The place in a sharded poll that the store keeps, as of the last inspection.
    fn place(&self) -> Option<Place> {
        None
    }

    /// Has the store keep this place from its first ballot on, if it keeps none.
    fn expect_place(&mut self, _place: Place) {}

    /// Has the store keep this place, if it keeps none yet, and returns the one that it keeps.
    async fn keep_place(&mut self, place: Place) -> Result<Place, StoreError> {
        Ok(place)
    }

    /// Deletes a bounded number of ids that were created before this time since the Unix epoch. Returns whether more
    /// may be left. From then on, ballots as old as these are [`Cast::Expired`].
    async fn purge_expired(&mut self, created_before: Duration) -> Result<bool, StoreError>;
}

/// The ballots that a store has.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// What casting each ballot again would return; `None`: it is not in the store.
    pub(crate) casts: Vec<Option<Cast>>,
    /// Whether a ballot that is not in the store can't be about to arrive there, as in a replica.
    pub(crate) is_current: bool,
}

/// The clock of a store's server, measured on a connection.
#[cfg(any(feature = "redis", feature = "mysql"))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerClock(Option<(Instant, Duration)>);

#[cfg(any(feature = "redis", feature = "mysql"))]
impl ServerClock {
    /// The server's time (since the Unix epoch), which has just arrived.
    pub(crate) fn measured(server_time: Duration) -> Self {
        Self(Some((Instant::now(), server_time)))
    }

    /// The instant by the server's clock, since the Unix epoch. A server that was frozen must not execute a request that
    /// it finds in its socket later: the voter has been told that it failed. So the result is not too late, unless the server's
    /// clock was set back since. It is too early by the time that the answer took to arrive, after which the answer to a later
    /// request would not arrive by the instant either, and by the millisecond to which servers round their time down.
    pub(crate) fn at(&self, instant: Instant) -> Duration {
        const RESOLUTION: Duration = Duration::from_millis(1);
        self.0.map_or(Duration::from_secs(u32::MAX.into()), |(at, time)| {
            time.saturating_sub(RESOLUTION) + instant.saturating_duration_since(at)
        })
    }
}

/// The times that decide which ids have expired, since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PurgeTimes {
    /// The server's clock; `None` if the store has no clock but this machine's.
    pub(crate) server: Option<Duration>,
    /// The creation of the newest ballot; `None` without ballots.
    pub(crate) newest_ballot: Option<Duration>,
}
