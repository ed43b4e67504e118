//! The trait that services count votes through, its errors, and the choice of a backend.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::ballot::{Ballot, Cast};
use crate::grouped::{Backend, Grouped};
use crate::metrics::StoreMetrics;
use crate::poll::Choices;
use crate::split::Split;
use crate::tally::{Snapshot, Tally};
use crate::url::StoreUrl;
use crate::{mysql, redis, sqlite};

/// A store of votes. Every call ends within [`Limits::deadline`]; every method may be called again after an error.
#[async_trait]
pub trait VoteStore: Send + Sync + 'static {
    /// Which backend it is.
    fn kind(&self) -> StoreKind;

    /// Counts a ballot; when it answers `Ok`, the vote is stored.
    async fn cast(&self, ballot: Ballot) -> Result<Cast, StoreError>;

    /// The votes of each category at one moment that is not before the call. Constant time in their number.
    async fn tally(&self) -> Result<Tally, StoreError>;

    /// Takes away every vote that the store holds, of both categories at once. Ballots stay known: one that was
    /// counted before the reset does not count again after it.
    async fn reset(&self) -> Result<(), StoreError>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError> {
        self.tally().await.map(drop)
    }

    /// All counters, for a transfer or a backup.
    async fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// Merges the counters of another store in, atomically for each choice. Merging again changes nothing.
    async fn merge(&self, snapshot: &Snapshot) -> Result<(), StoreError>;
}

/// A backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreKind {
    /// Redis or one of its likes.
    Redis,
    /// MySQL, MariaDB or a database that speaks their protocol and SQL.
    MySql,
    /// The embedded store, a file.
    Sqlite,
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::MySql => "MySQL",
            Self::Sqlite => "SQLite",
        })
    }
}

/// Why a store did not do what it was asked. The texts are for logs, not for voters.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached or turned the request away: nothing has happened, and nothing will.
    #[error("store unavailable: {0}")]
    Unavailable(Arc<str>),
    /// It was reached, but its answer did not come: a write may have happened. Casting the same ballot again settles
    /// it.
    #[error("store did not confirm: {0}")]
    Unconfirmed(Arc<str>),
    /// It answers, but can't be used as a store of votes (no right, not our data): trying again won't help. Nothing
    /// has happened.
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
}

/// How long a store may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From a call to its answer, retries included.
    pub deadline: Duration,
    /// For one attempt, the connection included.
    pub attempt: Duration,
    /// For a connection.
    pub connect: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(3),
            attempt: Duration::from_secs(2),
            connect: Duration::from_secs(1),
        }
    }
}

/// The store at this URL for this poll. Must be called on a Tokio runtime.
///
/// Nothing is connected yet: a store that is away at start is used as soon as it comes. Its schema is made or
/// brought up to date whenever it is connected.
pub fn open(url: &StoreUrl, choices: &Choices) -> Result<Arc<dyn VoteStore>, StoreError> {
    open_with(url, choices, Limits::default(), StoreMetrics::default())
}

/// [`open`] with limits and numbers of one's own.
///
/// # Errors
/// [`StoreError::Unusable`]: the URL has a part that the driver does not know.
pub fn open_with(
    url: &StoreUrl,
    choices: &Choices,
    limits: Limits,
    metrics: StoreMetrics,
) -> Result<Arc<dyn VoteStore>, StoreError> {
    if let Some(parts) = url.parts() {
        let open = |part| open_with(part, choices, limits, metrics.clone());
        return Ok(Arc::new(Split::new(parts.iter().map(open).collect::<Result<_, _>>()?)));
    }
    if let Some(parts) = url.cluster_parts() {
        let open =
            |part| redis::Backend::part(url, part, choices, limits).map(|it| start(it, limits, &metrics));
        return Ok(Arc::new(Split::new((0..parts).map(open).collect::<Result<_, _>>()?)));
    }
    Ok(match url.kind() {
        StoreKind::Redis => start(redis::Backend::new(url, choices, limits)?, limits, &metrics),
        StoreKind::MySql => start(mysql::Backend::new(url, choices)?, limits, &metrics),
        StoreKind::Sqlite => start(sqlite::Backend::new(url, choices, limits)?, limits, &metrics),
    })
}

fn start(backend: impl Backend, limits: Limits, metrics: &StoreMetrics) -> Arc<dyn VoteStore> {
    Arc::new(Grouped::start(backend, limits, metrics.clone()))
}
