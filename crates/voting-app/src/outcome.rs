//! The outcome of a vote.

use axum::http::HeaderName;
use voting_core::Cast;
use voting_storage::StoreError;

/// The header with the outcome of a vote, for programs: `counted`, `already-counted`, `refused` (not counted, and never
/// will be) or `unconfirmed` (sending the same ballot again settles it; with a status of 4xx, as a valid request).
pub const OUTCOME: HeaderName = HeaderName::from_static("x-vote-outcome");

/// The outcome of a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The vote is stored.
    Counted,
    /// The ballot was stored before; nothing changed.
    AlreadyCounted,
    /// The store is unavailable: the vote was not counted and never will be.
    Refused,
    /// The store did not confirm the vote: sending the same ballot again settles it.
    Unconfirmed,
    /// The client disconnected before the response: the vote may be stored.
    Abandoned,
    /// The request was rejected before the store was asked. It counted nothing, but its ballot may have been counted before.
    Rejected,
    /// The request had no ballot that could have been counted before, and was not a vote of this poll.
    Invalid,
}

impl Outcome {
    /// The outcomes of a valid ballot: all but [`Self::Rejected`] and [`Self::Invalid`].
    pub const OF_BALLOTS: [Self; 5] =
        [Self::Counted, Self::AlreadyCounted, Self::Refused, Self::Unconfirmed, Self::Abandoned];

    /// Whether the request was not a vote that could be counted now.
    pub fn is_invalid(self) -> bool {
        matches!(self, Self::Rejected | Self::Invalid)
    }

    /// The value of the metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Rejected | Self::Invalid => "invalid",
            other => other.header(),
        }
    }

    /// The value of the header [`OUTCOME`]. A client needs only the distinction whether the vote counts.
    pub fn header(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::AlreadyCounted => "already-counted",
            Self::Refused | Self::Invalid => "refused",
            Self::Unconfirmed | Self::Abandoned | Self::Rejected => "unconfirmed",
        }
    }
}

impl From<Cast> for Outcome {
    fn from(cast: Cast) -> Self {
        match cast {
            Cast::Counted => Self::Counted,
            Cast::AlreadyCounted => Self::AlreadyCounted,
            Cast::Expired => Self::Rejected,
        }
    }
}

impl From<&StoreError> for Outcome {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Overloaded(_) | StoreError::Unusable(_) => Self::Refused,
            StoreError::Unconfirmed(_) => Self::Unconfirmed,
        }
    }
}
