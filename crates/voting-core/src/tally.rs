//! The count: plain numbers, and the mergeable form in which stores exchange them.
//!
//! The mergeable form is a state-based CRDT: a PN-counter, that is two grow-only counters per replica, merged by
//! maximum. A replica is an [`Origin`], the store in which votes were cast. A store keeps one [`Counter`] per choice and
//! origin; merging twice, in either direction or in any order, changes nothing. A reset raises `reset_votes` to `votes` in
//! every counter that the store holds. So it takes away exactly the votes that this store had, wherever they are merged
//! later, and none that it had not seen.

use std::collections::BTreeMap;
use std::ops::Index;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::choice::Choice;

/// The votes of each choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; 2]);

impl Tally {
    /// A tally of these counts, in the order of the choices.
    pub fn new(first: u64, second: u64) -> Self {
        Self([first, second])
    }

    /// The sum of both.
    pub fn total(&self) -> u64 {
        self.0[0].saturating_add(self.0[1])
    }
}

impl Index<Choice> for Tally {
    type Output = u64;

    fn index(&self, choice: Choice) -> &u64 {
        &self.0[choice.index()]
    }
}

/// The identity of the store in which votes were cast: the replica id of the CRDT. Created once per store and kept in it.
///
/// Two stores must not count votes under one origin: a merge takes the larger counter and loses the votes of the other. So a
/// copy of a store needs an origin of its own, see [`Origin::at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Origin(Uuid);

impl Origin {
    /// The origin of votes taken over from azure-vote's MySQL table.
    pub const AZUREVOTE: Self = Self(Uuid::from_u128(0x617a7572_6566_4074_8574_766f74650000));

    /// A new origin.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "each origin is another one; a default suggests a neutral value"
    )]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The origin of a store with this identity at this place (server, file). The copy of a store has its identity and
    /// another place.
    #[must_use]
    pub fn at(&self, place: &str) -> Self {
        Self(Uuid::new_v5(&self.0, place.as_bytes()))
    }

    /// The 16 bytes that stores keep.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The origin that [`Origin::as_bytes`] gave.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    /// The origin that was displayed.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Votes for one choice that were cast in one origin. Both numbers only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// All votes ever cast.
    pub votes: u64,
    /// How many of them were reset.
    #[serde(rename = "reset")]
    pub reset_votes: u64,
}

impl Counter {
    /// The most votes of a counter: beyond it, the numbers of JSON readers and of Redis scripts are not exact.
    pub const MAX_VOTES: u64 = (1 << 53) - 1;

    /// The votes that count now.
    pub fn count(&self) -> u64 {
        self.votes.saturating_sub(self.reset_votes)
    }

    /// Merges two copies of one counter.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self { votes: self.votes.max(other.votes), reset_votes: self.reset_votes.max(other.reset_votes) }
    }
}

/// All counters of a store, as they are transferred, exported and merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot([BTreeMap<Origin, Counter>; 2]);

impl Snapshot {
    /// The counters of a choice.
    pub fn counters(&self, choice: Choice) -> &BTreeMap<Origin, Counter> {
        &self.0[choice.index()]
    }

    /// Merges one counter into the snapshot.
    pub fn merge_counter(&mut self, choice: Choice, origin: Origin, counter: Counter) {
        let kept = self.0[choice.index()].entry(origin).or_default();
        *kept = kept.merge(counter);
    }

    /// Merges another snapshot into this one.
    pub fn merge(&mut self, other: &Self) {
        for choice in Choice::ALL {
            for (&origin, &counter) in other.counters(choice) {
                self.merge_counter(choice, origin, counter);
            }
        }
    }

    /// Whether merging the other snapshot would change nothing.
    pub fn contains(&self, other: &Self) -> bool {
        Choice::ALL.into_iter().all(|choice| {
            other.counters(choice).iter().all(|(origin, &counter)| {
                let kept = self.counters(choice).get(origin).copied().unwrap_or_default();
                kept.merge(counter) == kept
            })
        })
    }

    /// The same counters after a reset.
    #[must_use]
    pub fn reset(mut self) -> Self {
        for counter in self.0.iter_mut().flat_map(BTreeMap::values_mut) {
            counter.reset_votes = counter.votes;
        }
        self
    }

    /// The votes that count now.
    pub fn tally(&self) -> Tally {
        let [first, second] = Choice::ALL.map(|choice| {
            let counts = self.counters(choice).values().map(Counter::count);
            counts.fold(0, u64::saturating_add)
        });
        Tally::new(first, second)
    }
}
