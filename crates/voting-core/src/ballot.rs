//! One vote, with the id that makes it count exactly once.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::choice::Choice;

/// A vote for a choice, under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ballot {
    /// Makes the vote count once.
    pub id: BallotId,
    /// The choice it is for.
    pub choice: Choice,
}

/// The effect of casting a ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// The ballot was new; its vote is counted and stored.
    Counted,
    /// A ballot with this id was counted before, for this choice or the other; nothing changed.
    AlreadyCounted,
    /// The store no longer has the ids of the time at which the ballot was created, so it can't tell whether it was
    /// counted; nothing changed.
    Expired,
}

/// The id of a ballot: a UUID of version 7, which begins with its creation time.
///
/// The time lets a store purge old ids: a ballot is accepted for [`BallotId::LIFETIME`], and ids are kept for
/// [`BallotId::RETENTION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BallotId(Uuid);

/// Why a text is not the id of a ballot that may be cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBallotId {
    /// Not a UUID of version 7.
    #[error("a ballot id is a UUID of version 7, as the page creates it")]
    Malformed,
    /// Older than [`BallotId::LIFETIME`]: whether it was counted is no longer known.
    #[error("this ballot is more than a day old")]
    Expired,
    /// Created more than [`BallotId::CLOCK_SKEW`] in the future.
    #[error("this ballot is from the future")]
    Future,
}

impl BallotId {
    /// How long a ballot is accepted after its creation.
    pub const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
    /// How far the clocks of two machines may differ.
    pub const CLOCK_SKEW: Duration = Duration::from_secs(10 * 60);
    /// How long a store keeps an id after its creation: until no replica accepts it any more.
    pub const RETENTION: Duration =
        Duration::from_secs(Self::LIFETIME.as_secs() + 6 * Self::CLOCK_SKEW.as_secs());

    /// A new id, created now.
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
        let created = id.created_at();
        if created + Self::LIFETIME < now {
            Err(InvalidBallotId::Expired)
        } else if created > now + Self::CLOCK_SKEW {
            Err(InvalidBallotId::Future)
        } else {
            Ok(id)
        }
    }

    /// Creation time since the Unix epoch, in whole milliseconds.
    pub fn created_at(&self) -> Duration {
        Self::time_of(self.as_bytes())
    }

    /// The creation time of the ballot with this id, as a store keeps it.
    pub fn time_of(id: &[u8; 16]) -> Duration {
        let millis = id[..6].iter().fold(0, |millis, &byte| (millis << 8) | u64::from(byte));
        Duration::from_millis(millis)
    }

    /// The 16 bytes that stores keep and sort by.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The smallest id that can have been created at `since_epoch` or later.
    pub fn min_id_at(since_epoch: Duration) -> [u8; 16] {
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
        let created = UNIX_EPOCH + id.created_at();
        assert!(created <= now + Duration::from_secs(1) && created + Duration::from_secs(1) >= now);
        assert!(BallotId::min_id_at(id.created_at()) <= *id.as_bytes());
        assert!(BallotId::min_id_at(id.created_at() + Duration::from_millis(1)) > *id.as_bytes());
    }

    #[test]
    fn an_id_is_accepted_for_a_day() {
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
