//! Faults of ballots: acknowledged but lost, or counted twice.

use std::sync::Arc;

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
    Arc::new(FaultyStore { faults: faults.clone(), inner: store })
}

/// A store that breaks its promises about ballots, and keeps the others.
struct FaultyStore {
    faults: Faults,
    inner: Arc<dyn VoteStore>,
}

impl FaultyStore {
    /// Casts a ballot, unless it is one to lose, and then perhaps another one for the same choice.
    async fn cast_with(
        &self,
        ballot: Ballot,
        cast: impl Future<Output = Result<Cast, StoreError>> + Send,
    ) -> Result<Cast, StoreError> {
        let (faults, plan) = (&self.faults, self.faults.plan());
        let (is_lost, is_doubled) =
            (faults.hits(Fault::Lose, plan.lose), faults.hits(Fault::Double, plan.double));
        if is_lost {
            faults.count(Fault::Lose);
            return Ok(Cast::Counted);
        }
        let result = cast.await;
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
