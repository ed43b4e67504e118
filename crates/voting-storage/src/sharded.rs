//! One poll sharded over several stores of one kind, so that no single row, key or server takes every vote.
//!
//! A ballot's id selects its shard. So each shard alone decides whether a ballot is new, and no operation on a ballot
//! spans two shards. The votes are the sum over the shards; as each shard is an origin of its own (see
//! [`voting_core::tally`]), transfers and backups work as with one store.
//!
//! A store that is listed twice, by two names, would show each vote twice. So a shard is used only when its identity is
//! known to differ from those of the others.
//!
//! A counter that was merged from another store lies in one shard only: the one that already has a counter of this
//! origin, else the one that the origin's id selects.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use voting_core::tally::Origin;
use voting_core::{Ballot, Cast, Choice, Snapshot, StoreKind, Tally};

use crate::store::{Finding, OtherVotes, StoreError, VoteStore};

/// Several stores as one; at least one.
pub(crate) struct ShardedStore {
    shards: Vec<Arc<dyn VoteStore>>,
    /// Of a call, as in [`Timeouts`](crate::Timeouts).
    deadline: Duration,
    /// Absent where the shards are known to differ: hash slots of a cluster.
    check: Option<DistinctShards>,
}

impl ShardedStore {
    /// Shards that can't be listed twice.
    pub(crate) fn distinct(shards: Vec<Arc<dyn VoteStore>>, deadline: Duration) -> Self {
        Self { shards, deadline, check: None }
    }

    /// Shards with these names, which are compared by their identity.
    pub(crate) fn listed(shards: Vec<Arc<dyn VoteStore>>, names: Vec<String>, deadline: Duration) -> Self {
        let check = DistinctShards::start(&shards, names, deadline);
        Self { shards, deadline, check: Some(check) }
    }

    /// Waits until this shard, or all, may be used.
    async fn checked(&self, shard: Option<usize>) -> Result<(), StoreError> {
        match &self.check {
            Some(check) => check.passed(shard).await,
            None => Ok(()),
        }
    }

    /// The shard of an id. The last bytes of a UUID are random; the first ones are its time.
    fn shard_of(&self, id: &[u8; 16]) -> usize {
        let [.., a, b, c, d] = *id;
        u32::from_be_bytes([a, b, c, d]) as usize % self.shards.len()
    }

    /// Calls all shards concurrently and returns their answers in order. A failed shard does not stop the others.
    async fn each<T, F>(&self, call: impl Fn(usize, Arc<dyn VoteStore>) -> F) -> Vec<Result<T, StoreError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let mut calls = JoinSet::new();
        for (place, shard) in self.shards.iter().enumerate() {
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
        self.checked(None).await?;
        self.each(call).await.into_iter().collect()
    }

    /// Checks that each shard answers now: one that is away must not leave a poll that is reset in part. A shard with counts that
    /// can't be read answers, and a reset mends it.
    async fn check_reach(&self) -> Result<(), StoreError> {
        let limit = self.deadline / 3;
        let answers = self.each(|_, shard| async move {
            match timeout(limit, shard.ping()).await {
                Ok(Ok(()) | Err(StoreError::Unusable(_))) => Ok(()),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(StoreError::unavailable("no answer in time")),
            }
        });
        let answers: Result<Vec<()>, _> = answers.await.into_iter().collect();
        let away = |error| StoreError::unavailable(format!("a shard is away, no shard was reset: {error}"));
        answers.map(drop).map_err(away)
    }

    /// [`ShardedStore::each`] for writes. If some shards succeed and others fail, the write is partly done, so the error
    /// can't say that nothing happened.
    async fn each_write<F>(&self, call: impl Fn(usize, Arc<dyn VoteStore>) -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        self.checked(None).await?;
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
        self.shards[0].kind()
    }

    async fn cast(&self, ballot: Ballot) -> Result<Cast, StoreError> {
        let shard = self.shard_of(ballot.id.as_bytes());
        self.checked(Some(shard)).await?;
        self.shards[shard].cast(ballot).await
    }

    async fn cast_new(&self, ballot: Ballot) -> Result<Cast, StoreError> {
        let shard = self.shard_of(ballot.id.as_bytes());
        self.checked(Some(shard)).await?;
        self.shards[shard].cast_new(ballot).await
    }

    async fn tally(&self) -> Result<Tally, StoreError> {
        let tallies = self.each_read(|_, shard| async move { shard.tally().await }).await?;
        let [first, second] = Choice::ALL.map(|choice| tallies.iter().map(|tally| tally[choice]).sum());
        Ok(Tally::new(first, second))
    }

    async fn other_votes(&self) -> Result<OtherVotes, StoreError> {
        let mut all = OtherVotes::default();
        for shard in self.each_read(|_, shard| async move { shard.other_votes().await }).await? {
            for (name, votes) in shard.0 {
                *all.0.entry(name).or_default() += votes;
            }
        }
        Ok(all)
    }

    async fn reset(&self) -> Result<(), StoreError> {
        let until = Instant::now() + self.deadline;
        self.check_reach().await?;
        self.each_write(|_, shard| async move {
            let late = |_| Err(StoreError::unconfirmed("no answer in time"));
            timeout_at(until, shard.reset()).await.unwrap_or_else(late)
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.each_read(|_, shard| async move { shard.ping().await }).await.map(drop)
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.each_read(|_, shard| async move { shard.probe().await }).await.map(drop)
    }

    fn findings(&self) -> Vec<Finding> {
        let mut all: Vec<Finding> = Vec::new();
        for finding in self.shards.iter().flat_map(|shard| shard.findings()) {
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

    async fn identities(&self) -> Result<Vec<Origin>, StoreError> {
        self.each_read(|_, shard| async move { shard.identities().await }).await.map(|all| all.concat())
    }

    async fn origins(&self) -> Result<Vec<Origin>, StoreError> {
        self.each_read(|_, shard| async move { shard.origins().await }).await.map(|all| all.concat())
    }

    async fn renew_origin(&self) -> Result<(), StoreError> {
        // Not checked: a copy that is listed with its original becomes usable by this.
        self.each(|_, shard| async move { shard.renew_origin().await }).await.into_iter().collect()
    }

    async fn merge(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let snapshots = self.each_read(|_, shard| async move { shard.snapshot().await }).await?;
        let holder = |choice, origin: &Origin| {
            let has_counter = |shard: &Snapshot| shard.counters(choice).contains_key(origin);
            snapshots.iter().position(has_counter).unwrap_or_else(|| self.shard_of(origin.as_bytes()))
        };
        let mut by_shard = vec![Snapshot::default(); self.shards.len()];
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

/// The identities of a shard, once it has answered.
type Identity = Option<Result<Vec<Origin>, StoreError>>;

/// The check that no store is listed twice. It runs until all shards have answered once.
struct DistinctShards {
    names: Vec<String>,
    identities: watch::Receiver<Vec<Identity>>,
    /// Until then, a ballot waits for all shards; later a shard that is down holds up no ballot of another one.
    grace: Instant,
    deadline: Duration,
    /// Ends the tasks with the store.
    _tasks: JoinSet<()>,
}

impl DistinctShards {
    const GRACE: Duration = Duration::from_secs(1);
    /// Between two attempts at a shard that is down.
    const PAUSE: Duration = Duration::from_millis(200);

    fn start(shards: &[Arc<dyn VoteStore>], names: Vec<String>, deadline: Duration) -> Self {
        let (sender, identities) = watch::channel(vec![None; shards.len()]);
        let mut tasks = JoinSet::new();
        for (place, shard) in shards.iter().cloned().enumerate() {
            let sender = sender.clone();
            tasks.spawn(async move {
                loop {
                    let answer = shard.identities().await;
                    let is_known = answer.is_ok();
                    sender.send_modify(|all| all[place] = Some(answer));
                    if is_known {
                        return;
                    }
                    tokio::time::sleep(Self::PAUSE).await;
                }
            });
        }
        Self { names, identities, grace: Instant::now() + Self::GRACE, deadline, _tasks: tasks }
    }

    /// Waits until this shard, or all, are known to differ from the others.
    async fn passed(&self, shard: Option<usize>) -> Result<(), StoreError> {
        let mut identities = self.identities.clone();
        let is_known = |identity: &Identity| matches!(identity, Some(Ok(_)));
        match shard {
            // A read needs all shards.
            None => {
                let _ = timeout(self.deadline, identities.wait_for(|all| all.iter().all(is_known))).await;
            }
            Some(shard) => {
                let _ = timeout_at(self.grace, identities.wait_for(|all| all.iter().all(is_known))).await;
                let _ = timeout(self.deadline, identities.wait_for(|all| is_known(&all[shard]))).await;
            }
        }
        let all = identities.borrow();
        if let Some((a, b)) = self.equal(&all) {
            return Err(StoreError::unusable(format!(
                "{a} and {b} are one store, or one is a copy of the other; allowed: different stores \
                 (`voting-storage new-origin` gives a copy its own origin)"
            )));
        }
        let needed = |place: &usize| shard.is_none_or(|shard| shard == *place);
        for (place, identity) in all.iter().enumerate().filter(|(place, _)| needed(place)) {
            match identity {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.clone()),
                None => {
                    return Err(StoreError::unavailable(format!("no answer from {} yet", self.names[place])));
                }
            }
        }
        Ok(())
    }

    /// Two shards with an identity in common.
    fn equal(&self, all: &[Identity]) -> Option<(&str, &str)> {
        let known = |place: usize| all[place].as_ref().and_then(|identity| identity.as_ref().ok());
        (0..all.len()).flat_map(|b| (0..b).map(move |a| (a, b))).find_map(|(a, b)| {
            let shared = known(a)?.iter().any(|origin| known(b).is_some_and(|b| b.contains(origin)));
            shared.then(|| (self.names[a].as_str(), self.names[b].as_str()))
        })
    }
}
