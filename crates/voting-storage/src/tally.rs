//! What was counted: the plain numbers, and the mergeable form in which stores exchange them.
//!
//! A store keeps, for each choice, one [`Counter`] for each *origin*, the store in which the votes were cast. Both
//! numbers of a counter only ever grow, so two copies of it merge by taking the larger of each: merging again, in
//! either direction or in any order, changes nothing. A reset raises `reset` to `votes` in every counter that the
//! store holds. So it takes away exactly the votes that this store had, wherever they are merged later, and none
//! that it had not seen.

use std::collections::BTreeMap;
use std::ops::Index;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::poll::Category;

/// The votes of each category.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; 2]);

impl Tally {
    /// A tally of these counts.
    pub fn new(first: u64, second: u64) -> Self {
        Self([first, second])
    }

    /// All votes.
    pub fn total(&self) -> u64 {
        self.0[0].saturating_add(self.0[1])
    }
}

impl Index<Category> for Tally {
    type Output = u64;

    fn index(&self, category: Category) -> &u64 {
        &self.0[category.index()]
    }
}

/// The store in which votes were cast; made once for each store, kept in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Origin(Uuid);

impl Origin {
    /// Votes that were taken over from the original's MySQL table.
    pub(crate) const AZUREVOTE: Self = Self(Uuid::from_u128(0x617a7572_6566_4074_8574_766f74650000));

    pub(crate) fn new() -> Self {
        Self(Uuid::now_v7())
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Votes for one choice that were cast in one origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// All votes that were ever cast.
    pub votes: u64,
    /// How many of them a reset has taken away.
    pub reset: u64,
}

impl Counter {
    /// What counts now.
    pub fn count(&self) -> u64 {
        self.votes.saturating_sub(self.reset)
    }

    /// What both copies know.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self { votes: self.votes.max(other.votes), reset: self.reset.max(other.reset) }
    }
}

/// All counters of a store: what is transferred, exported and merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot([BTreeMap<Origin, Counter>; 2]);

impl Snapshot {
    /// The counters of a category.
    pub fn counters(&self, category: Category) -> &BTreeMap<Origin, Counter> {
        &self.0[category.index()]
    }

    /// Merges one counter in.
    pub fn insert(&mut self, category: Category, origin: Origin, counter: Counter) {
        let kept = self.0[category.index()].entry(origin).or_default();
        *kept = kept.merge(counter);
    }

    /// Merges all of `other` in.
    pub fn merge(&mut self, other: &Self) {
        for category in Category::ALL {
            for (&origin, &counter) in other.counters(category) {
                self.insert(category, origin, counter);
            }
        }
    }

    /// What counts now.
    pub fn tally(&self) -> Tally {
        let [first, second] =
            Category::ALL.map(|category| self.counters(category).values().map(Counter::count).sum());
        Tally::new(first, second)
    }
}
