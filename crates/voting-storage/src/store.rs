//! The trait that services count votes through, its errors and its timeouts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::place::{Misplaced, Place};
use async_trait::async_trait;
use voting_core::tally::Origin;
use voting_core::{Ballot, BallotId, Cast, Snapshot, StoreKind, Tally};

/// A store of votes. Every call ends within [`Timeouts::deadline`]; every method may be called again after an error.
#[async_trait]
pub trait VoteStore: Send + Sync + 'static {
    /// The backend.
    fn kind(&self) -> StoreKind;

    /// Counts a ballot that may have been cast before. `Ok` means that the vote is stored, unless it is
    /// [`Cast::Expired`]. After an error other than [`StoreError::Unconfirmed`], the ballot is not in the store.
    async fn cast(&self, ballot: Ballot) -> Result<Cast, StoreError>;

    /// [`VoteStore::cast`] of a ballot whose id was made for this call. So if the store is unreachable, it is certain that
    /// the ballot is not in the store.
    async fn cast_new(&self, ballot: Ballot) -> Result<Cast, StoreError>;

    /// Reads the votes of both choices at one moment that is not before the call, in constant time.
    async fn tally(&self) -> Result<Tally, StoreError>;

    /// Reads the votes of choices that are not on this poll: of one with other names, which has used the store before or
    /// uses it as well.
    async fn other_votes(&self) -> Result<OtherVotes, StoreError>;

    /// Deletes all votes of both choices at once. Ballot ids stay known: a ballot that was counted before the reset does
    /// not count again after it.
    async fn reset(&self) -> Result<(), StoreError>;

    /// Checks that the store answers.
    async fn ping(&self) -> Result<(), StoreError> {
        self.tally().await.map(drop)
    }

    /// Checks that the store takes ballots: one for each choice is cast and taken back at once, so no read shows them.
    async fn probe(&self) -> Result<(), StoreError>;

    /// The properties of the store that endanger its promises, as of the last look at it: on each new connection, and
    /// every few seconds while it is used.
    fn findings(&self) -> Vec<Finding>;

    /// Reads all counters, for a transfer or a backup.
    async fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// The identities of the store or of its shards: a store that is known by two names has one identity, and so has a copy.
    async fn identities(&self) -> Result<Vec<Origin>, StoreError>;

    /// The origins of the votes that are cast in the store or in its shards, as far as they have one yet.
    async fn origins(&self) -> Result<Vec<Origin>, StoreError>;

    /// Gives the store new origins, for a copy or a restored snapshot: votes that are cast from now on are distinguished from
    /// those that are cast in the original.
    async fn renew_origin(&self) -> Result<(), StoreError>;

    /// Merges the counters of another store, atomically per choice. Merging again changes nothing.
    async fn merge(&self, snapshot: &Snapshot) -> Result<(), StoreError>;

    /// The place among the stores of a sharded poll that the store keeps. Writes nothing.
    async fn place(&self) -> Result<Option<Place>, StoreError> {
        Ok(None)
    }

    /// Has the store keep this place, if it keeps none yet, and returns the one that it keeps.
    async fn keep_place(&self, place: Place) -> Result<Place, StoreError> {
        Ok(place)
    }

    /// Sends only ballots of this place from now on. If the store keeps another one, it takes none.
    fn expect_place(&self, _place: Place) {}
}

/// The votes of choices that are not on the poll, which keep them until the poll has their names again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherVotes(pub BTreeMap<String, u64>);

impl fmt::Display for OtherVotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let votes = self.0.iter().map(|(name, votes)| format!("{name:?} {votes}"));
        write!(
            f,
            "votes of choices that are not on this poll are kept and not shown: {}; allowed: their names in VOTE1VALUE and \
             VOTE2VALUE",
            votes.collect::<Vec<_>>().join(", ")
        )
    }
}

/// A property of a store that endangers its promises, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The same for each occurrence of this finding.
    pub subject: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// The property, its consequence and the allowed values.
    pub text: String,
}

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A permanent choice of the operator that weakens a promise.
    Note,
    /// A promise holds, but the store needs attention.
    Warning,
    /// The store takes no ballots because of it.
    Refusal,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Refusal => "error",
        };
        write!(f, "{label}: {}", self.text)
    }
}

impl Finding {
    /// Reports settings by which acknowledged votes may be lost, and the ones that prevent it.
    #[cfg(any(feature = "redis", feature = "mysql"))]
    pub(crate) fn of_durability(weakness: &str, allowed: &str) -> Self {
        let text = format!("{weakness}; allowed: {allowed}");
        Self { subject: "durability", severity: Severity::Note, text }
    }

    /// Reports a clock (since the Unix epoch) that differs from this machine's by more than is allowed.
    pub(crate) fn of_clock(whose: &str, time: Duration) -> Option<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let difference = time.abs_diff(now);
        let direction = if time > now { "ahead of" } else { "behind" };
        (difference > BallotId::CLOCK_SKEW).then(|| {
            let (seconds, allowed) = (difference.as_secs(), BallotId::CLOCK_SKEW.as_secs());
            let text = format!(
                "{whose} is {seconds} s {direction} the clock of this machine; allowed: up to {allowed} s. Ballots still \
                 count once, but old ballot ids are not purged until the clocks agree"
            );
            Self { subject: "clock", severity: Severity::Warning, text }
        })
    }
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
    /// More requests arrive than the store can serve in time: a retry at once won't help. The request had no effect.
    #[error("store overloaded: {0}")]
    Overloaded(Arc<str>),
    /// The request was sent, but no answer arrived: a write may have taken effect. Casting the same ballot again
    /// settles it.
    #[error("store did not confirm: {0}")]
    Unconfirmed(Arc<str>),
    /// The store answers but is unusable as a store of votes (missing permission, foreign data): a retry won't help.
    /// The request had no effect.
    #[error("store unusable: {0}")]
    Unusable(Arc<str>),
}

impl From<Misplaced> for StoreError {
    fn from(error: Misplaced) -> Self {
        Self::unusable(error)
    }
}

impl StoreError {
    pub(crate) fn unavailable(cause: impl fmt::Display) -> Self {
        Self::Unavailable(one_line(cause))
    }

    pub(crate) fn overloaded(cause: impl fmt::Display) -> Self {
        Self::Overloaded(one_line(cause))
    }

    pub(crate) fn unconfirmed(cause: impl fmt::Display) -> Self {
        Self::Unconfirmed(one_line(cause))
    }

    pub(crate) fn unusable(cause: impl fmt::Display) -> Self {
        Self::Unusable(one_line(cause))
    }

    /// The store rejects the login, or denies the user something.
    #[cfg(any(feature = "redis", feature = "mysql"))]
    pub(crate) fn denied(cause: impl fmt::Display) -> Self {
        Self::unusable(format!(
            "{cause}; allowed: a user and password with the permissions that docs/operations.md lists"
        ))
    }

    /// The error of a ballot for which the counter of its choice has no room.
    pub(crate) fn full_counter() -> Self {
        let most = voting_core::tally::Counter::MAX_VOTES;
        Self::unusable(format!(
            "the counter of a choice is full; allowed: up to {most} votes; a reset makes room (`voting-storage reset`)"
        ))
    }

    /// The label of the error in metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Overloaded(_) => "overloaded",
            Self::Unconfirmed(_) => "unconfirmed",
            Self::Unusable(_) => "unusable",
        }
    }
}

/// The text of a cause in one line: drivers' errors may have several.
fn one_line(cause: impl fmt::Display) -> Arc<str> {
    let text = cause.to_string();
    if text.contains(char::is_control) {
        return text
            .split(char::is_control)
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
            .into();
    }
    text.into()
}

/// How long a store may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a call, retries included.
    pub deadline: Duration,
    /// For one attempt, the connection included.
    pub attempt: Duration,
    /// For the first answer on a connection, and for the lock of an SQLite file.
    pub connect: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(3),
            attempt: Duration::from_secs(2),
            connect: Duration::from_millis(1500),
        }
    }
}
