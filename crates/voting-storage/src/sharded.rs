//! One poll sharded over several stores of one kind, so that no single row, key or server takes every vote.
//!
//! A ballot's id selects its shard. So each shard alone decides whether a ballot is new, and no operation on a ballot
//! spans two shards. The votes are the sum over the shards; as each shard is an origin of its own (see
//! [`voting_core::tally`]), transfers and backups work as with one store.
//!
//! A store that is listed twice, by two names, would show each vote twice. So a shard is used only when its identity is
//! known to differ from those of the others. Each shard keeps its place (see [`crate::place`]): under another name, it still
//! gets the ballots that it knows.
//!
//! A counter that was merged from another store lies in one shard only: the one that already has a counter of this
//! origin, else the one that the origin's id selects.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use voting_core::tally::Origin;
use voting_core::{Ballot, Cast, Choice, Snapshot, StoreKind, Tally};

use crate::place::{Place, assign};
use crate::store::{Finding, OtherVotes, StoreError, VoteStore};

/// Several stores as one; at least one.
pub(crate) struct ShardedStore {
    shards: Vec<Arc<dyn VoteStore>>,
    /// Of a call, as in [`Timeouts`](crate::Timeouts).
    deadline: Duration,
    kind: Kind,
}

enum Kind {
    /// Hash slots of a Redis Cluster, which are known to differ. The first one tells whether there are as many as ever.
    Slots(OnceCell<()>),
    /// Stores of a list.
    Listed(ListedShards),
}

impl ShardedStore {
    /// Hash slots of a cluster.
    pub(crate) fn of_cluster(shards: Vec<Arc<dyn VoteStore>>, deadline: Duration) -> Self {
        for (number, shard) in shards.iter().enumerate() {
            shard.expect_place(Place::new(number, shards.len()));
        }
        Self { shards, deadline, kind: Kind::Slots(OnceCell::new()) }
    }

    /// Stores with these names.
    pub(crate) fn listed(shards: Vec<Arc<dyn VoteStore>>, names: Vec<String>, deadline: Duration) -> Self {
        let kind = Kind::Listed(ListedShards::start(&shards, names, deadline));
        Self { shards, deadline, kind }
    }

    /// Waits until all shards may be read.
    async fn all_known(&self) -> Result<(), StoreError> {
        match &self.kind {
            Kind::Listed(shards) => shards.all_known().await,
            Kind::Slots(_) => Ok(()),
        }
    }

    /// The index of the shard with this id. The last bytes of a UUID are random; the first ones are its time.
    async fn index_of(&self, id: &[u8; 16]) -> Result<usize, StoreError> {
        let [.., a, b, c, d] = *id;
        let number = u32::from_be_bytes([a, b, c, d]) as usize % self.shards.len();
        match &self.kind {
            Kind::Listed(shards) => shards.index_of(number).await,
            Kind::Slots(checked) => {
                let check = async || {
                    let place = Place::new(0, self.shards.len());
                    Ok::<_, StoreError>(place.check(self.shards[0].keep_place(place).await?)?)
                };
                checked.get_or_try_init(check).await.map(|()| number)
            }
        }
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
        self.all_known().await?;
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
        self.all_known().await?;
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
        let index = self.index_of(ballot.id.as_bytes()).await?;
        self.shards[index].cast(ballot).await
    }

    async fn cast_new(&self, ballot: Ballot) -> Result<Cast, StoreError> {
        let index = self.index_of(ballot.id.as_bytes()).await?;
        self.shards[index].cast_new(ballot).await
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
        let mut by_shard = vec![Snapshot::default(); self.shards.len()];
        for choice in Choice::ALL {
            for (&origin, &counter) in snapshot.counters(choice) {
                let has_counter = |shard: &Snapshot| shard.counters(choice).contains_key(&origin);
                let index = match snapshots.iter().position(has_counter) {
                    Some(index) => index,
                    None => self.index_of(origin.as_bytes()).await?,
                };
                by_shard[index].merge_counter(choice, origin, counter);
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

/// What a shard tells of itself.
#[derive(Clone, Debug)]
struct Told {
    identities: Vec<Origin>,
    /// The place that it keeps.
    place: Option<Place>,
    /// The number of the place at which it takes ballots.
    number: Option<usize>,
}

/// What the shards of a list have told so far.
type All = Vec<Option<Result<Told, StoreError>>>;

/// Asks the shards of a list for their places, and checks that no store is listed twice. It runs until each shard has answered
/// once and, if there are ballots, keeps a place.
struct ListedShards {
    names: Arc<[String]>,
    all: watch::Receiver<All>,
    /// Set with the first ballot.
    has_ballots: watch::Sender<bool>,
    /// The index of each number, once all are known.
    settled: OnceLock<Vec<usize>>,
    deadline: Duration,
    /// Ends the tasks with the store.
    _tasks: JoinSet<()>,
}

impl ListedShards {
    /// Between two attempts at a shard that is down.
    const PAUSE: Duration = Duration::from_millis(200);

    fn start(shards: &[Arc<dyn VoteStore>], names: Vec<String>, deadline: Duration) -> Self {
        let (sender, all) = watch::channel(vec![None; shards.len()]);
        let has_ballots = watch::Sender::new(false);
        let names: Arc<[String]> = names.into();
        // Until then, a ballot waits for all shards; later a shard that is down holds up no ballot of another one.
        let grace = Instant::now() + deadline / 3;
        let mut tasks = JoinSet::new();
        for (index, shard) in shards.iter().cloned().enumerate() {
            let (sender, names, ballots) = (sender.clone(), names.clone(), has_ballots.subscribe());
            tasks.spawn(async move {
                loop {
                    let told = ask(shard.as_ref()).await;
                    let is_known = told.is_ok();
                    sender.send_modify(|all| all[index] = Some(told));
                    if is_known
                        && settle(shard.as_ref(), index, &sender, &names, ballots.clone(), grace).await
                    {
                        return;
                    }
                    tokio::time::sleep(Self::PAUSE).await;
                }
            });
        }
        Self { names, all, has_ballots, settled: OnceLock::new(), deadline, _tasks: tasks }
    }

    /// Waits until all shards have answered, and are known to differ.
    async fn all_known(&self) -> Result<(), StoreError> {
        let mut all = self.all.clone();
        let _ = timeout(self.deadline, all.wait_for(|all| all.iter().all(is_known))).await;
        let all = all.borrow();
        numbers(&all, &self.names)?;
        match all.iter().position(|told| !is_known(told)) {
            Some(index) => Err(self.absence(&all, index)),
            None => Ok(()),
        }
    }

    /// Waits until the shard with the ballots of this number is known.
    async fn index_of(&self, number: usize) -> Result<usize, StoreError> {
        if let Some(settled) = self.settled.get() {
            return Ok(settled[number]);
        }
        self.has_ballots.send_if_modified(|has| !std::mem::replace(has, true));
        let index = |all: &All, number| {
            let takes = |told: &Option<Result<Told, _>>| matches!(told, Some(Ok(told)) if told.number == Some(number));
            all.iter().position(takes)
        };
        let is_decided = |all: &All| index(all, number).is_some() || numbers(all, &self.names).is_err();
        let mut all = self.all.clone();
        let _ = timeout(self.deadline, all.wait_for(is_decided)).await;
        let all = all.borrow();
        let numbers = numbers(&all, &self.names)?;
        if let Some(settled) = (0..all.len()).map(|number| index(&all, number)).collect() {
            let _ = self.settled.set(settled);
        }
        index(&all, number).ok_or_else(|| {
            let own = numbers.iter().position(|other| *other == Some(number));
            let absent = || all.iter().position(|told| !is_known(told));
            self.absence(&all, own.or_else(absent).unwrap_or_default())
        })
    }

    /// Why this shard is of no use yet.
    fn absence(&self, all: &All, index: usize) -> StoreError {
        match &all[index] {
            Some(Err(error)) => error.clone(),
            _ => StoreError::unavailable(format!("no answer from {} yet", self.names[index])),
        }
    }
}

fn is_known(told: &Option<Result<Told, StoreError>>) -> bool {
    matches!(told, Some(Ok(_)))
}

async fn ask(shard: &dyn VoteStore) -> Result<Told, StoreError> {
    Ok(Told { identities: shard.identities().await?, place: shard.place().await?, number: None })
}

/// Once there are ballots, has the shard keep the place that is its own. Returns whether it does.
async fn settle(
    shard: &dyn VoteStore,
    index: usize,
    sender: &watch::Sender<All>,
    names: &[String],
    mut has_ballots: watch::Receiver<bool>,
    grace: Instant,
) -> bool {
    let mut all = sender.subscribe();
    let number = |all: &All| numbers(all, names).ok().and_then(|numbers| numbers[index]);
    let _ = timeout_at(grace, all.wait_for(|all| all.iter().all(is_known))).await;
    if has_ballots.wait_for(|has| *has).await.is_err() {
        return false;
    }
    let found = all.wait_for(|all| number(all).is_some()).await.map(|all| (all.len(), number(&all)));
    let Ok((count, Some(number))) = found else { return false };
    let place = Place::new(number, count);
    let kept = shard.keep_place(place).await.and_then(|kept| Ok(place.check(kept)?));
    if kept.is_ok() {
        shard.expect_place(place);
    }
    let is_settled = kept.is_ok();
    sender.send_modify(|all| match (kept, &mut all[index]) {
        (Ok(()), Some(Ok(told))) => (told.place, told.number) = (Some(place), Some(number)),
        (Ok(()), _) => {}
        (Err(error), told) => *told = Some(Err(error)),
    });
    is_settled
}

/// The number of each shard, as far as it is known.
fn numbers(all: &All, names: &[String]) -> Result<Vec<Option<usize>>, StoreError> {
    let told = |index: usize| all[index].as_ref().and_then(|told| told.as_ref().ok());
    for (a, b) in (0..all.len()).flat_map(|b| (0..b).map(move |a| (a, b))) {
        let (Some(first), Some(second)) = (told(a), told(b)) else { continue };
        if first.identities.iter().any(|identity| second.identities.contains(identity)) {
            let [a, b] = [&names[a], &names[b]];
            return Err(StoreError::unusable(format!(
                "{a} and {b} are one store, or one is a copy of the other; allowed: different stores \
                 (`voting-storage new-origin` gives a copy its own origin)"
            )));
        }
    }
    let known: Vec<_> = (0..all.len()).map(|index| told(index).map(|told| told.place)).collect();
    Ok(assign(&known, names)?)
}
