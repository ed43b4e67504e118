//! One poll sharded over several stores of one kind, so that no single row, key or server takes every vote.
//!
//! A ballot's id selects its shard. So each shard alone decides whether a ballot is new, and no operation on a ballot
//! spans two shards. The votes are the sum over the shards; as each shard is an origin of its own (see
//! [`voting_core::tally`]), transfers and backups work as with one store.
//!
//! A counter that was merged from another store lies in one shard only: the one that already has a counter of this
//! origin, else the one that the origin's id selects.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::JoinSet;
use voting_core::tally::Origin;
use voting_core::{Ballot, Cast, Choice, Snapshot, StoreKind, Tally};

use crate::store::{Finding, StoreError, VoteStore};

/// Several stores as one; at least one.
pub(crate) struct ShardedStore(Vec<Arc<dyn VoteStore>>);

impl ShardedStore {
    pub(crate) fn new(shards: Vec<Arc<dyn VoteStore>>) -> Self {
        Self(shards)
    }

    /// The shard of an id. The last bytes of a UUID are random; the first ones are its time.
    fn shard_of(&self, id: &[u8; 16]) -> usize {
        let [.., a, b, c, d] = *id;
        u32::from_be_bytes([a, b, c, d]) as usize % self.0.len()
    }

    /// Calls all shards concurrently and returns their answers in order. A failed shard does not stop the others.
    async fn each<T, F>(&self, call: impl Fn(usize, Arc<dyn VoteStore>) -> F) -> Vec<Result<T, StoreError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let mut calls = JoinSet::new();
        for (place, shard) in self.0.iter().enumerate() {
            let answer = call(place, shard.clone());
            calls.spawn(async move { (place, answer.await) });
        }
        let mut answers = calls.join_all().await;
        answers.sort_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// [`ShardedStore::each`] for reads: all succeed or none is used.
    async fn each_read<T, F>(
        &self,
        call: impl Fn(usize, Arc<dyn VoteStore>) -> F,
    ) -> Result<Vec<T>, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.each(call).await.into_iter().collect()
    }

    /// [`ShardedStore::each`] for writes. If some shards succeed and others fail, the write is partly done, so the error
    /// can't say that nothing happened.
    async fn each_write<F>(&self, call: impl Fn(usize, Arc<dyn VoteStore>) -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let answers = self.each(call).await;
        let count = answers.len();
        let errors: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
        let Some(first) = errors.first() else { return Ok(()) };
        if errors.len() < count {
            let failed = errors.len();
            return Err(StoreError::unconfirmed(format!(
                "partly done: {failed} of {count} shards failed: {first}"
            )));
        }
        let unconfirmed = errors.iter().find(|error| matches!(error, StoreError::Unconfirmed(_)));
        Err(unconfirmed.unwrap_or(first).clone())
    }
}

#[async_trait]
impl VoteStore for ShardedStore {
    fn kind(&self) -> StoreKind {
        self.0[0].kind()
    }

    async fn cast(&self, ballot: Ballot) -> Result<Cast, StoreError> {
        self.0[self.shard_of(ballot.id.as_bytes())].cast(ballot).await
    }

    async fn cast_new(&self, ballot: Ballot) -> Result<Cast, StoreError> {
        self.0[self.shard_of(ballot.id.as_bytes())].cast_new(ballot).await
    }

    async fn tally(&self) -> Result<Tally, StoreError> {
        let tallies = self.each_read(|_, shard| async move { shard.tally().await }).await?;
        let [first, second] = Choice::ALL.map(|choice| tallies.iter().map(|tally| tally[choice]).sum());
        Ok(Tally::new(first, second))
    }

    async fn reset(&self) -> Result<(), StoreError> {
        self.each_write(|_, shard| async move { shard.reset().await }).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.each_read(|_, shard| async move { shard.ping().await }).await.map(drop)
    }

    fn findings(&self) -> Vec<Finding> {
        let mut all: Vec<Finding> = Vec::new();
        for finding in self.0.iter().flat_map(|shard| shard.findings()) {
            match all.iter_mut().find(|known| known.subject == finding.subject) {
                Some(known) if known.severity < finding.severity => *known = finding,
                Some(_) => {}
                None => all.push(finding),
            }
        }
        all
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut all = Snapshot::default();
        for shard in self.each_read(|_, shard| async move { shard.snapshot().await }).await? {
            all.merge(&shard);
        }
        Ok(all)
    }

    async fn merge(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let snapshots = self.each_read(|_, shard| async move { shard.snapshot().await }).await?;
        let holder = |choice, origin: &Origin| {
            let has_counter = |shard: &Snapshot| shard.counters(choice).contains_key(origin);
            snapshots.iter().position(has_counter).unwrap_or_else(|| self.shard_of(origin.as_bytes()))
        };
        let mut by_shard = vec![Snapshot::default(); self.0.len()];
        for choice in Choice::ALL {
            for (&origin, &counter) in snapshot.counters(choice) {
                by_shard[holder(choice, &origin)].merge_counter(choice, origin, counter);
            }
        }
        let by_shard = Arc::new(by_shard);
        let merge = |place: usize, shard: Arc<dyn VoteStore>| {
            let by_shard = by_shard.clone();
            async move { shard.merge(&by_shard[place]).await }
        };
        self.each_write(merge).await
    }
}
