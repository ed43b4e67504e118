//! The stores of the poll: each side of a canary has results of its own.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use voting_core::Choice;

use crate::page::VoteCounts;

/// The stores, by the release of voting-storage that responses name.
#[derive(Debug, Default)]
pub(crate) struct Sides(Mutex<BTreeMap<String, Side>>);

/// What is known of a store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Side {
    /// The results before its first ballot; `None` if a ballot came there before a voter saw them.
    pub(crate) before: Option<VoteCounts>,
    accepted: VoteCounts,
    /// Number of ballots that it accepted from the page of another store.
    pub(crate) moved: u64,
}

/// The least results that a read may show which begins now.
#[derive(Debug, Default)]
pub(crate) struct Least(BTreeMap<String, VoteCounts>);

impl Sides {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Side>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page of this store shows these results. The first such page is read before the first ballot from one.
    pub(crate) fn see(&self, storage: &str, counts: VoteCounts) {
        let mut sides = self.lock();
        if !sides.contains_key(storage) {
            sides.insert(storage.to_owned(), Side { before: Some(counts), ..Side::default() });
        }
    }

    pub(crate) fn knows(&self, storage: &str) -> bool {
        self.lock().contains_key(storage)
    }

    /// A store accepted a ballot from the page of this or another store.
    pub(crate) fn accept(&self, storage: &str, of_page: &str, choice: Choice) {
        let mut sides = self.lock();
        let side = sides.entry(storage.to_owned()).or_default();
        side.accepted[choice.index()] += 1;
        side.moved += u64::from(storage != of_page);
    }

    pub(crate) fn least(&self) -> Least {
        let sides = self.lock();
        let least = sides.iter().filter_map(|(storage, side)| {
            let before = side.before?;
            Some((storage.clone(), [before[0] + side.accepted[0], before[1] + side.accepted[1]]))
        });
        Least(least.collect())
    }

    pub(crate) fn all(&self) -> BTreeMap<String, Side> {
        self.lock().clone()
    }
}

impl Least {
    /// Whether results miss a vote that was accepted before they were read.
    pub(crate) fn is_missed_by(&self, storage: &str, counts: VoteCounts) -> bool {
        self.0.get(storage).is_some_and(|least| (0..2).any(|choice| counts[choice] < least[choice]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_must_show_the_votes_of_its_own_store() {
        let sides = Sides::default();
        sides.see("1.0", [10, 0]);
        sides.see("1.0", [11, 0]);
        sides.see("2.0", [0, 5]);
        sides.accept("1.0", "1.0", Choice::First);
        let least = sides.least();
        assert!(!least.is_missed_by("1.0", [11, 0]) && least.is_missed_by("1.0", [10, 9]));
        assert!(!least.is_missed_by("2.0", [0, 5]) && !least.is_missed_by("3.0", [0, 0]));
    }

    #[test]
    fn a_ballot_that_moves_to_an_unseen_store_leaves_its_start_unknown() {
        let sides = Sides::default();
        sides.see("1.0", [0, 0]);
        sides.accept("2.0", "1.0", Choice::First);
        sides.see("2.0", [1, 0]);
        let all = sides.all();
        assert_eq!((all["2.0"].before, all["2.0"].moved, all["1.0"].moved), (None, 1, 0));
    }
}
