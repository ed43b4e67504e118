//! The outcome of a ballot.

/// The outcome of a ballot as the voter knows it after all attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BallotOutcome {
    /// Counted.
    Accepted,
    /// Not counted, and never will be.
    Refused,
    /// No response, or an unconfirmed outcome.
    Unknown,
}

impl BallotOutcome {
    /// All outcomes.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::Refused, Self::Unknown];

    /// Its name in metrics and accounts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}
