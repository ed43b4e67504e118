//! Faults of ballots: acknowledged but lost, or counted twice.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use voting_core::tally::Origin;
use voting_core::{Ballot, BallotId, Cast, Snapshot, StoreKind, Tally};
use voting_storage::{Finding, OtherVotes, StoreError, VoteStore};

use crate::faults::Faults;
use crate::grammar::Fault;

/// This store, whose ballots have the faults; the same store if no fault is one of ballots.
pub fn inject(faults: &Faults, store: Arc<dyn VoteStore>) -> Arc<dyn VoteStore> {
    let plan = faults.plan();
    if plan.lose.is_none() && plan.double.is_none() {
        return store;
    }
    Arc::new(FaultyStore { faults: faults.clone(), counted: Mutex::default(), inner: store })
}

/// A store that breaks its promises about ballots, and keeps the others.
struct FaultyStore {
    faults: Faults,
    /// Ballots that are drawn no more. An audit that sends each ballot again would find lost votes that are in the store.
    counted: Mutex<Recent>,
    inner: Arc<dyn VoteStore>,
}

/// The most recent ballots that the store has counted.
#[derive(Default)]
struct Recent {
    known: BTreeSet<BallotId>,
    oldest_first: VecDeque<BallotId>,
}

impl Recent {
    /// A few megabytes.
    const MAX: usize = 50_000;

    fn insert(&mut self, id: BallotId) {
        if self.known.insert(id) {
            self.oldest_first.push_back(id);
        }
        if self.oldest_first.len() > Self::MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl FaultyStore {
    fn recent<T>(&self, access: impl FnOnce(&mut Recent) -> T) -> T {
        access(&mut self.counted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Casts a ballot, unless it is one to lose, and then perhaps another one for the same choice.
    async fn cast_with(
        &self,
        ballot: Ballot,
        cast: impl Future<Output = Result<Cast, StoreError>> + Send,
    ) -> Result<Cast, StoreError> {
        if self.recent(|recent| recent.known.contains(&ballot.id)) {
            return cast.await;
        }
        let (faults, plan) = (&self.faults, self.faults.plan());
        let (is_lost, is_doubled) =
            (faults.hits(Fault::Lose, plan.lose), faults.hits(Fault::Double, plan.double));
        if is_lost {
            faults.count(Fault::Lose);
            return Ok(Cast::Counted);
        }
        let result = cast.await;
        if matches!(result, Ok(Cast::Counted | Cast::AlreadyCounted)) {
            self.recent(|recent| recent.insert(ballot.id));
        }
        if is_doubled && matches!(result, Ok(Cast::Counted)) {
            let again = Ballot { id: BallotId::new(), ..ballot };
            if matches!(self.inner.cast_new(again).await, Ok(Cast::Counted)) {
                faults.count(Fault::Double);
            }
        }
        result
    }
}

#[async_trait]
impl VoteStore for FaultyStore {
    fn kind(&self) -> StoreKind {
        self.inner.kind()
    }

    async fn cast(&self, ballot: Ballot) -> Result<Cast, StoreError> {
        self.cast_with(ballot, self.inner.cast(ballot)).await
    }

    async fn cast_new(&self, ballot: Ballot) -> Result<Cast, StoreError> {
        self.cast_with(ballot, self.inner.cast_new(ballot)).await
    }

    async fn tally(&self) -> Result<Tally, StoreError> {
        self.inner.tally().await
    }

    async fn other_votes(&self) -> Result<OtherVotes, StoreError> {
        self.inner.other_votes().await
    }

    async fn reset(&self) -> Result<(), StoreError> {
        self.inner.reset().await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }

    fn findings(&self) -> Vec<Finding> {
        self.inner.findings()
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.inner.snapshot().await
    }

    async fn identities(&self) -> Result<Vec<Origin>, StoreError> {
        self.inner.identities().await
    }

    async fn origins(&self) -> Result<Vec<Origin>, StoreError> {
        self.inner.origins().await
    }

    async fn renew_origin(&self) -> Result<(), StoreError> {
        self.inner.renew_origin().await
    }

    async fn merge(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.inner.merge(snapshot).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_recent_ballots_are_remembered() {
        let mut recent = Recent::default();
        let first = BallotId::new();
        recent.insert(first);
        for _ in 1..Recent::MAX {
            recent.insert(BallotId::new());
        }
        recent.insert(first);
        assert!(recent.known.contains(&first) && recent.known.len() == Recent::MAX);
        recent.insert(BallotId::new());
        assert!(!recent.known.contains(&first) && recent.known.len() == Recent::MAX);
        assert_eq!(recent.oldest_first.len(), Recent::MAX);
    }
}
