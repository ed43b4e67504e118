//! One vote, with the id that makes it count exactly once.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::poll::Category;

/// A vote for a category under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ballot {
    /// What makes it count once.
    pub id: BallotId,
    /// What it is for.
    pub category: Category,
}

/// What casting a ballot did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// The ballot was new; its vote is counted and stored.
    Counted,
    /// A ballot with this id was counted before, for this category or the other; nothing changed.
    AlreadyCounted,
}

/// The id of a ballot: a UUID of version 7, which begins with the time it was made.
///
/// The time lets a store forget old ids: a ballot is taken for [`BallotId::LIFETIME`], ids are remembered for longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BallotId(Uuid);

/// Why a text can't be the id of a ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBallotId {
    /// Not a UUID of version 7.
    #[error("a ballot id is a UUID of version 7, as the page makes it")]
    Malformed,
    /// Made more than [`BallotId::LIFETIME`] ago: whether it was counted is no longer known.
    #[error("this ballot is more than a day old")]
    Expired,
    /// Made more than [`BallotId::CLOCK_SKEW`] after now.
    #[error("this ballot is from the future")]
    Future,
}

impl BallotId {
    /// For how long after it was made a ballot is taken.
    pub const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
    /// By how much the clocks of two machines may differ.
    pub const CLOCK_SKEW: Duration = Duration::from_secs(10 * 60);
    /// For how long after it was made a store remembers an id: until no replica takes it any more.
    pub const REMEMBERED: Duration =
        Duration::from_secs(Self::LIFETIME.as_secs() + 6 * Self::CLOCK_SKEW.as_secs());

    /// A new id, made now.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Parses an id that arrived at `now`.
    ///
    /// # Errors
    /// [`InvalidBallotId`]: not an id, or not one that may be cast at this time.
    pub fn parse_at(text: &str, now: SystemTime) -> Result<Self, InvalidBallotId> {
        let id = text.parse::<Self>()?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let made = id.made();
        if made + Self::LIFETIME < now {
            Err(InvalidBallotId::Expired)
        } else if made > now + Self::CLOCK_SKEW {
            Err(InvalidBallotId::Future)
        } else {
            Ok(id)
        }
    }

    /// When it was made, since the Unix epoch, in whole milliseconds.
    pub fn made(&self) -> Duration {
        let bytes = self.0.as_bytes();
        let millis = bytes[..6].iter().fold(0, |millis, &byte| (millis << 8) | u64::from(byte));
        Duration::from_millis(millis)
    }

    /// The 16 bytes by which stores keep and order ids.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The smallest id that can have been made at `since_epoch` or later.
    pub(crate) fn first_of(since_epoch: Duration) -> [u8; 16] {
        let millis = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        (u128::from(millis) << 80).to_be_bytes()
    }
}

impl Default for BallotId {
    fn default() -> Self {
        Self::new()
    }
}

impl FromStr for BallotId {
    type Err = InvalidBallotId;

    fn from_str(text: &str) -> Result<Self, InvalidBallotId> {
        match Uuid::try_parse(text) {
            Ok(id) if id.get_version_num() == 7 => Ok(Self(id)),
            _ => Err(InvalidBallotId::Malformed),
        }
    }
}

impl fmt::Display for BallotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_with_its_time() {
        let now = SystemTime::now();
        let id = BallotId::new();
        assert_eq!(BallotId::parse_at(&id.to_string(), now), Ok(id));
        let made = UNIX_EPOCH + id.made();
        assert!(made <= now + Duration::from_secs(1) && made + Duration::from_secs(1) >= now);
        assert!(BallotId::first_of(id.made()) <= *id.as_bytes());
        assert!(BallotId::first_of(id.made() + Duration::from_millis(1)) > *id.as_bytes());
    }

    #[test]
    fn an_id_is_taken_for_a_day() {
        let id = BallotId::new().to_string();
        let now = SystemTime::now();
        let at = |now| BallotId::parse_at(&id, now).map(|_| ());
        assert_eq!(at(now + BallotId::LIFETIME - Duration::from_secs(1)), Ok(()));
        assert_eq!(at(now + BallotId::LIFETIME + Duration::from_secs(1)), Err(InvalidBallotId::Expired));
        assert_eq!(at(now - BallotId::CLOCK_SKEW + Duration::from_secs(1)), Ok(()));
        assert_eq!(at(now - BallotId::CLOCK_SKEW - Duration::from_secs(2)), Err(InvalidBallotId::Future));
    }

    #[test]
    fn other_texts_are_not_ids() {
        for text in ["", "x", "1", "'; DROP TABLE ballots", "3d813cbb-47fb-42ba-91df-831e1593ac29"] {
            assert_eq!(text.parse::<BallotId>(), Err(InvalidBallotId::Malformed), "{text:?}");
        }
    }
}
