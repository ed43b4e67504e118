//! The stores of the poll: each side of a canary has results of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use voting_core::Choice;

use crate::outcome::BallotOutcome;
use crate::page::VoteCounts;
use crate::picture::Verdict;

/// The stores, by the release of voting-storage that responses name.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    sides: Mutex<BTreeMap<String, Side>>,
    /// Ballots that were sent, and were neither accepted nor refused: each store may have counted them.
    open: AtomicU64,
    /// Number of ballots that were sent so far.
    begun: AtomicU64,
}

/// What is known of a store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Side {
    /// The results before its first ballot; `None` if a ballot may have come there before a voter saw them.
    pub(crate) before: Option<VoteCounts>,
    /// Number of ballots that were sent before a voter saw these results.
    begun: u64,
    accepted: VoteCounts,
    /// Number of ballots that it accepted from the page of another store.
    pub(crate) moved: u64,
}

/// The least results that a read may show which begins now.
#[derive(Debug, Default)]
pub(crate) struct Least(BTreeMap<String, VoteCounts>);

impl Sides {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Side>> {
        self.sides.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page of this store shows these results. The first such page is read before the first ballot from one.
    pub(crate) fn see(&self, storage: &str, counts: VoteCounts) {
        let mut sides = self.lock();
        let begun = self.begun.load(Ordering::Acquire);
        if begun == 0 || !sides.contains_key(storage) {
            sides.insert(storage.to_owned(), Side { before: Some(counts), begun, ..Side::default() });
        }
    }

    /// A ballot is sent for the first time. Returns its number.
    pub(crate) fn begin(&self) -> u64 {
        // Not while a page is being compared, which must not become the results before the first ballot.
        let _sides = self.lock();
        self.open.fetch_add(1, Ordering::AcqRel);
        self.begun.fetch_add(1, Ordering::AcqRel)
    }

    /// No more attempts are made with a ballot. An accepted one was passed to [`Sides::accept`] before.
    pub(crate) fn end(&self, outcome: BallotOutcome) {
        if outcome != BallotOutcome::Unknown {
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub(crate) fn knows(&self, storage: &str) -> bool {
        self.lock().contains_key(storage)
    }

    /// A store accepted the ballot with this number, from the page of this or another store.
    pub(crate) fn accept(&self, ballot: u64, storage: &str, of_page: &str, choice: Choice) {
        let mut sides = self.lock();
        let side = sides.entry(storage.to_owned()).or_default();
        side.accepted[choice.index()] += 1;
        if storage != of_page {
            side.moved += 1;
            // The first results that a voter saw may have shown it.
            side.before = side.before.filter(|_| ballot >= side.begun);
        }
    }

    pub(crate) fn least(&self) -> Least {
        let sides = self.lock();
        let least = sides.iter().filter_map(|(storage, side)| {
            let before = side.before?;
            Some((storage.clone(), [before[0] + side.accepted[0], before[1] + side.accepted[1]]))
        });
        Least(least.collect())
    }

    /// What results say that were read after [`Sides::least`] was called.
    pub(crate) fn judge(&self, least: &Least, storage: &str, counts: VoteCounts) -> Verdict {
        let (sides, open) = (self.lock(), self.open.load(Ordering::Acquire));
        let missing = least.missing(storage, counts);
        let extra = sides.get(storage).and_then(|side| {
            let before = side.before?;
            let known = |choice: usize| before[choice] + side.accepted[choice] + open;
            Some((0..2).map(|choice| counts[choice].saturating_sub(known(choice))).sum())
        });
        Verdict { missing, extra: extra.unwrap_or_default() }
    }

    pub(crate) fn all(&self) -> BTreeMap<String, Side> {
        self.lock().clone()
    }
}

impl Least {
    /// Number of votes that were accepted before the results were read, and that they lack.
    fn missing(&self, storage: &str, counts: VoteCounts) -> u64 {
        let missing =
            |least: &VoteCounts| (0..2).map(|choice| least[choice].saturating_sub(counts[choice])).sum();
        self.0.get(storage).map_or(0, missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_must_show_the_votes_of_its_own_store() {
        let sides = Sides::default();
        sides.see("1.0", [9, 0]);
        sides.see("1.0", [10, 0]);
        sides.see("2.0", [0, 5]);
        let ballot = sides.begin();
        sides.see("1.0", [11, 0]);
        sides.accept(ballot, "1.0", "1.0", Choice::First);
        sides.end(BallotOutcome::Accepted);
        let least = sides.least();
        let missing = |storage, counts| sides.judge(&least, storage, counts).missing;
        assert_eq!((missing("1.0", [11, 0]), missing("1.0", [10, 9]), missing("1.0", [0, 0])), (0, 1, 11));
        assert_eq!((missing("2.0", [0, 5]), missing("2.0", [0, 3]), missing("3.0", [0, 0])), (0, 2, 0));
    }

    #[test]
    fn votes_that_no_ballot_accounts_for_are_extra() {
        let sides = Sides::default();
        sides.see("1.0", [10, 0]);
        let extra = |counts| sides.judge(&sides.least(), "1.0", counts).extra;
        let ballot = sides.begin();
        assert_eq!((extra([11, 0]), extra([12, 0])), (0, 1), "the ballot may be counted already");
        sides.accept(ballot, "1.0", "1.0", Choice::First);
        sides.end(BallotOutcome::Accepted);
        assert_eq!((extra([11, 0]), extra([13, 1])), (0, 3));
        sides.begin();
        sides.end(BallotOutcome::Refused);
        assert_eq!(extra([12, 0]), 1);
        sides.begin();
        sides.end(BallotOutcome::Unknown);
        assert_eq!(extra([12, 0]), 0, "this one may be counted for ever");
    }

    #[test]
    fn a_ballot_that_moves_to_an_unseen_store_leaves_its_start_unknown() {
        let sides = Sides::default();
        sides.see("1.0", [0, 0]);
        let ballot = sides.begin();
        sides.accept(ballot, "2.0", "1.0", Choice::First);
        sides.see("2.0", [1, 0]);
        let all = sides.all();
        assert_eq!((all["2.0"].before, all["2.0"].moved, all["1.0"].moved), (None, 1, 0));
    }

    #[test]
    fn a_ballot_that_moved_before_its_store_was_seen_leaves_its_start_unknown() {
        let sides = Sides::default();
        sides.see("1.0", [0, 0]);
        let earlier = sides.begin();
        // The store has counted it, and its answer is on its way.
        sides.see("2.0", [1, 0]);
        let later = sides.begin();
        sides.accept(later, "2.0", "1.0", Choice::First);
        assert_eq!(sides.all()["2.0"].before, Some([1, 0]));
        sides.accept(earlier, "2.0", "1.0", Choice::First);
        assert_eq!((sides.all()["2.0"].before, sides.all()["2.0"].moved), (None, 2));
        assert_eq!(sides.judge(&sides.least(), "2.0", [2, 0]).missing, 0);
    }
}
