//! A [`VoteStore`] made of a [`Backend`]: batching, retries and a few connections.
//!
//! Ballots go through one batcher and reads through another. The rare rest (reset, snapshot, merge) uses a new connection
//! each time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Span;
use voting_batch::{BatchHandler, Batcher, SubmitError};
use voting_core::tally::Origin;
use voting_core::{Ballot, BallotId, Cast, Choice, Snapshot, StoreKind, Tally};

use crate::backend::{Backend, Session as _};
use crate::connection::{Connection, Findings, LastError, call_span};
use crate::metrics::StoreMetrics;
use crate::place::Place;
use crate::purge;
use crate::retry::retry;
use crate::store::{Finding, OtherVotes, StoreError, Timeouts, VoteStore};

/// A store whose concurrent work is batched.
pub(crate) struct BatchedStore<B: Backend> {
    backend: Arc<B>,
    timeouts: Timeouts,
    metrics: StoreMetrics,
    last_error: LastError,
    findings: Findings,
    /// The place among the stores of a sharded poll.
    place: Arc<OnceLock<Place>>,
    rare: Mutex<()>,
    casts: Batcher<CastBatch<B>>,
    reads: Batcher<TallyBatch<B>>,
}

impl<B: Backend> BatchedStore<B> {
    pub(crate) fn start(backend: B, timeouts: Timeouts, metrics: StoreMetrics) -> Self {
        let backend = Arc::new(backend);
        let (last_error, findings) = (LastError::default(), Findings::default());
        tokio::spawn(purge::run(Arc::downgrade(&backend), timeouts.attempt));
        let connection = || Connection::new(&backend, timeouts, &metrics, &last_error, &findings);
        let place = Arc::new(OnceLock::new());
        let casts = (0..B::CAST_CONNECTIONS).map(|_| CastBatch(connection(), place.clone()));
        Self {
            casts: Batcher::start(casts, metrics.batch("cast")),
            reads: Batcher::start([TallyBatch(connection(), place.clone())], metrics.batch("tally")),
            place,
            backend,
            timeouts,
            metrics,
            last_error,
            findings,
            rare: Mutex::default(),
        }
    }

    /// One attempt of a rare operation on a connection of its own, one at a time, so that the number of connections stays
    /// bounded.
    async fn run_rare<T>(
        &self,
        operation: &'static str,
        deadline: Instant,
        call: impl AsyncFnOnce(&mut B::Session, Instant) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let waited = timeout_at(deadline, self.rare.lock()).await;
        let _turn = waited.map_err(|_| StoreError::unavailable("another reset or transfer is running"))?;
        let mut connection =
            Connection::new(&self.backend, self.timeouts, &self.metrics, &self.last_error, &self.findings);
        connection.run(operation, Some(deadline), call).await
    }

    async fn submit<H, T, E>(
        &self,
        batcher: &Batcher<H>,
        request: H::Request,
        deadline: Instant,
    ) -> Result<T, E>
    where
        H: BatchHandler<Answer = Result<T, E>>,
        E: From<StoreError>,
    {
        batcher.submit(request, deadline).await.unwrap_or_else(|error| {
            let last_error =
                self.last_error.get().map_or_else(String::new, |cause| format!("; last error: {cause}"));
            let error = match error {
                SubmitError::OutcomeUnknown => StoreError::unconfirmed("no answer in time"),
                // Never retried, whatever the last error was: one cut call does not make a slow store an absent one.
                SubmitError::Overloaded => {
                    StoreError::overloaded(format!("too many requests wait for it{last_error}"))
                }
                SubmitError::NotStarted => {
                    StoreError::unavailable(format!("no answer is possible in time{last_error}"))
                }
            };
            Err(error.into())
        })
    }

    /// Casts a ballot. `is_absent` tells whether it is known not to be in the store.
    async fn cast_known(&self, ballot: Ballot, is_absent: bool) -> Result<Cast, StoreError> {
        // Attempts without effect keep it absent.
        let is_absent = &AtomicBool::new(is_absent);
        let cast = retry(self.timeouts.deadline, |deadline| async move {
            self.submit(&self.casts, ballot, deadline).await.map_err(|failure: CastFailure| {
                is_absent.fetch_or(failure.is_absent, Ordering::Relaxed);
                failure.error
            })
        });
        match cast.await {
            Err(
                StoreError::Unavailable(cause) | StoreError::Overloaded(cause) | StoreError::Unusable(cause),
            ) if !is_absent.load(Ordering::Relaxed) => {
                Err(StoreError::unconfirmed(format!("an earlier attempt could not be looked up: {cause}")))
            }
            cast => cast,
        }
    }
}

#[async_trait]
impl<B: Backend> VoteStore for BatchedStore<B> {
    fn kind(&self) -> StoreKind {
        B::KIND
    }

    async fn cast(&self, ballot: Ballot) -> Result<Cast, StoreError> {
        self.cast_known(ballot, false).await
    }

    async fn cast_new(&self, ballot: Ballot) -> Result<Cast, StoreError> {
        self.cast_known(ballot, true).await
    }

    async fn tally(&self) -> Result<Tally, StoreError> {
        retry(self.timeouts.deadline, |deadline| self.submit(&self.reads, (), deadline)).await
    }

    async fn other_votes(&self) -> Result<OtherVotes, StoreError> {
        retry(self.timeouts.deadline, |deadline| async move {
            self.run_rare("other-votes", deadline, async |session, _| session.other_votes().await).await
        })
        .await
    }

    async fn reset(&self) -> Result<(), StoreError> {
        retry(self.timeouts.deadline, |deadline| async move {
            self.run_rare("reset", deadline, async |session, until| session.reset(until).await).await
        })
        .await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let mut ballots = Choice::ALL.map(|choice| Ballot { id: BallotId::new(), choice });
        ballots.sort_by_key(|ballot| ballot.id);
        retry(self.timeouts.deadline, |deadline| async move {
            self.run_rare("probe", deadline, async |session, until| session.probe(&ballots, until).await)
                .await
        })
        .await
    }

    fn findings(&self) -> Vec<Finding> {
        self.findings.get()
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        retry(self.timeouts.deadline, |deadline| async move {
            self.run_rare("snapshot", deadline, async |session, _| session.snapshot().await).await
        })
        .await
    }

    async fn identities(&self) -> Result<Vec<Origin>, StoreError> {
        retry(self.timeouts.deadline, |deadline| async move {
            self.run_rare("identity", deadline, async |session, _| session.identity().await).await
        })
        .await
        .map(|identity| identity.into_iter().collect())
    }

    async fn origins(&self) -> Result<Vec<Origin>, StoreError> {
        retry(self.timeouts.deadline, |deadline| async move {
            self.run_rare("origin", deadline, async |session, _| session.origin().await).await
        })
        .await
        .map(|origin| origin.into_iter().collect())
    }

    async fn renew_origin(&self) -> Result<(), StoreError> {
        retry(self.timeouts.deadline, |deadline| async move {
            self.run_rare("renew-origin", deadline, async |session, _| session.renew_origin().await).await
        })
        .await
    }

    async fn merge(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        retry(self.timeouts.deadline, |deadline| async move {
            self.run_rare("merge", deadline, async |session, until| session.merge(snapshot, until).await)
                .await
        })
        .await
    }

    async fn place(&self) -> Result<Option<Place>, StoreError> {
        retry(self.timeouts.deadline, |deadline| async move {
            self.run_rare("place", deadline, async |session, _| Ok(session.place())).await
        })
        .await
    }

    async fn keep_place(&self, place: Place) -> Result<Place, StoreError> {
        retry(self.timeouts.deadline, |deadline| async move {
            self.run_rare("place", deadline, async |session, _| session.keep_place(place).await).await
        })
        .await
    }

    fn expect_place(&self, place: Place) {
        // Places don't change: each store keeps its own.
        let _ = self.place.set(place);
    }
}

/// A failed attempt to cast a ballot.
#[derive(Clone, Debug)]
struct CastFailure {
    error: StoreError,
    /// Whether the attempt had no effect and the ballot was looked up in vain afterwards.
    is_absent: bool,
}

impl From<StoreError> for CastFailure {
    fn from(error: StoreError) -> Self {
        Self { error, is_absent: false }
    }
}

/// Casts batches of ballots. After a failure without effect it looks the ballots up: they may have been counted before.
struct CastBatch<B: Backend>(Connection<B>, Arc<OnceLock<Place>>);

impl<B: Backend> BatchHandler for CastBatch<B> {
    type Request = Ballot;
    type Answer = Result<Cast, CastFailure>;
    const MAX_BATCH: usize = 512;
    const PARALLEL_BELOW: usize = B::PARALLEL_BELOW;

    async fn prepare(&mut self) -> Result<(), Self::Answer> {
        let place = self.1.get().copied().unwrap_or(Place::ALONE);
        let prepared = self.0.prepare().await.and_then(|()| self.0.check_place(place));
        prepared.map_err(|error| Err(error.into()))
    }

    fn is_ready(&self) -> bool {
        self.0.is_open()
    }

    fn needs_maintenance(&self) -> bool {
        self.0.needs_maintenance()
    }

    async fn maintain(&mut self) {
        self.0.maintain().await;
    }

    fn span(&self, parent: &Span) -> Span {
        call_span::<B>("cast", parent)
    }

    async fn handle(&mut self, batch: &[Ballot], until: Instant) -> Vec<Self::Answer> {
        // Sorted by id, so that two replicas that hold the same ballots lock them in the same order.
        let mut ballots = batch.to_vec();
        ballots.sort_by_key(|ballot| ballot.id);
        ballots.dedup_by_key(|ballot| ballot.id);
        let mut found = None;
        let least_find_time = self.0.timeouts().attempt / 4;
        let casts = self.0.run("cast", None, async |session, limit| {
            let start = Instant::now();
            let casts = session.cast(&ballots, until.min(limit)).await;
            if let Err(StoreError::Unavailable(_) | StoreError::Unusable(_)) = &casts {
                // At least a little longer than the failure itself: the store may be slow.
                let limit = least_find_time.max(start.elapsed() * 5 / 4);
                found = timeout(limit, session.find(&ballots)).await.ok().and_then(Result::ok);
            }
            casts
        });
        let casts: Vec<Self::Answer> = match casts.await {
            Ok(casts) => casts.into_iter().map(Ok).collect(),
            Err(error) => {
                tracing::warn!(ballots = ballots.len(), %error, "casting a batch failed");
                let is_absent = found.as_ref().is_some_and(|found| found.is_current);
                let failure = CastFailure { error, is_absent };
                let casts = found.map_or_else(|| vec![None; ballots.len()], |found| found.casts);
                casts.into_iter().map(|cast| cast.ok_or_else(|| failure.clone())).collect()
            }
        };
        let mut answers = casts;
        batch
            .iter()
            .map(|ballot| {
                let place = ballots.binary_search_by_key(&ballot.id, |ballot| ballot.id);
                let Some(answer) = place.ok().and_then(|place| answers.get_mut(place)) else {
                    return Err(StoreError::unconfirmed("the answer does not match the request").into());
                };
                // The first requester of an id gets its answer; a double click within one batch is told the truth.
                let counted_before = answer.clone().map(|cast| match cast {
                    Cast::Counted => Cast::AlreadyCounted,
                    unchanged => unchanged,
                });
                std::mem::replace(answer, counted_before)
            })
            .collect()
    }
}

/// Reads the tally once for a whole batch.
struct TallyBatch<B: Backend>(Connection<B>, Arc<OnceLock<Place>>);

impl<B: Backend> BatchHandler for TallyBatch<B> {
    type Request = ();
    type Answer = Result<Tally, StoreError>;
    const MAX_BATCH: usize = 4096;

    async fn prepare(&mut self) -> Result<(), Self::Answer> {
        self.0.prepare().await.map_err(Err)?;
        // A shard alone may be read; a poll without one of its shards has no results.
        match self.1.get() {
            Some(place) if place.of() > 1 => self.0.check_place(*place).map_err(Err),
            _ => Ok(()),
        }
    }

    fn needs_maintenance(&self) -> bool {
        self.0.needs_maintenance()
    }

    async fn maintain(&mut self) {
        self.0.maintain().await;
    }

    fn span(&self, parent: &Span) -> Span {
        call_span::<B>("tally", parent)
    }

    async fn handle(&mut self, batch: &[()], _until: Instant) -> Vec<Self::Answer> {
        let tally = self.0.run("tally", None, async |session, _| session.tally().await).await;
        if let Err(error) = &tally {
            tracing::warn!(%error, "reading the tally failed");
        }
        vec![tally; batch.len()]
    }
}
