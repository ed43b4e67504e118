//! A [`VoteStore`] made of a [`Backend`]: batching, retries and a few connections.
//!
//! Ballots go through one batcher and reads through another. The rare rest (reset, snapshot, merge) uses a new connection
//! each time.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::Span;
use voting_batch::{BatchHandler, Batcher, SubmitError};
use voting_core::{Ballot, Cast, Snapshot, StoreKind, Tally};

use crate::backend::{Backend, Session as _};
use crate::connection::{Connection, LastError, call_span};
use crate::metrics::StoreMetrics;
use crate::purge;
use crate::retry::retry;
use crate::store::{StoreError, Timeouts, VoteStore};

/// A store whose concurrent work is batched.
pub(crate) struct BatchedStore<B: Backend> {
    backend: Arc<B>,
    timeouts: Timeouts,
    metrics: StoreMetrics,
    last_error: LastError,
    casts: Batcher<CastBatch<B>>,
    reads: Batcher<TallyBatch<B>>,
}

impl<B: Backend> BatchedStore<B> {
    pub(crate) fn start(backend: B, timeouts: Timeouts, metrics: StoreMetrics) -> Self {
        let backend = Arc::new(backend);
        let last_error = LastError::default();
        tokio::spawn(purge::run(Arc::downgrade(&backend), timeouts.attempt));
        let connection = || Connection::new(&backend, timeouts, &metrics, &last_error);
        let casts = (0..B::CAST_CONNECTIONS).map(|_| CastBatch(connection()));
        Self {
            casts: Batcher::start(casts, metrics.batch("cast")),
            reads: Batcher::start([TallyBatch(connection())], metrics.batch("tally")),
            backend,
            timeouts,
            metrics,
            last_error,
        }
    }

    /// A connection for a rare operation.
    fn connection(&self) -> Connection<B> {
        Connection::new(&self.backend, self.timeouts, &self.metrics, &self.last_error)
    }

    async fn submit<H, T>(
        &self,
        batcher: &Batcher<H>,
        request: H::Request,
        deadline: Instant,
    ) -> Result<T, StoreError>
    where
        H: BatchHandler<Answer = Result<T, StoreError>>,
    {
        batcher.submit(request, deadline).await.unwrap_or_else(|error| {
            Err(match (error, self.last_error.get()) {
                (SubmitError::OutcomeUnknown, _) => StoreError::unconfirmed("no answer in time"),
                (SubmitError::NotStarted, None) => StoreError::unavailable("overloaded: the queue is full"),
                (SubmitError::NotStarted, Some(cause)) => {
                    StoreError::unavailable(format!("no connection in time; last error: {cause}"))
                }
            })
        })
    }
}

#[async_trait]
impl<B: Backend> VoteStore for BatchedStore<B> {
    fn kind(&self) -> StoreKind {
        B::KIND
    }

    async fn cast(&self, ballot: Ballot) -> Result<Cast, StoreError> {
        retry(self.timeouts.deadline, |deadline| self.submit(&self.casts, ballot, deadline)).await
    }

    async fn tally(&self) -> Result<Tally, StoreError> {
        retry(self.timeouts.deadline, |deadline| self.submit(&self.reads, (), deadline)).await
    }

    async fn reset(&self) -> Result<(), StoreError> {
        retry(self.timeouts.deadline, |deadline| async move {
            self.connection().run("reset", deadline, async |session, until| session.reset(until).await).await
        })
        .await
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        retry(self.timeouts.deadline, |deadline| async move {
            self.connection().run("snapshot", deadline, async |session, _| session.snapshot().await).await
        })
        .await
    }

    async fn merge(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        retry(self.timeouts.deadline, |deadline| async move {
            self.connection()
                .run("merge", deadline, async |session, until| session.merge(snapshot, until).await)
                .await
        })
        .await
    }
}

/// Casts batches of ballots.
struct CastBatch<B: Backend>(Connection<B>);

impl<B: Backend> BatchHandler for CastBatch<B> {
    type Request = Ballot;
    type Answer = Result<Cast, StoreError>;
    const MAX_BATCH: usize = 512;
    const PARALLEL_BELOW: usize = B::PARALLEL_BELOW;

    async fn prepare(&mut self) -> Result<(), Self::Answer> {
        self.0.prepare().await.map_err(Err)
    }

    fn is_ready(&self) -> bool {
        self.0.is_healthy()
    }

    fn span(&self, parent: &Span) -> Span {
        call_span::<B>("cast", parent)
    }

    async fn handle(&mut self, batch: &[Ballot], until: Instant) -> Vec<Self::Answer> {
        // Sorted by id, so that two replicas that hold the same ballots lock them in the same order.
        let mut ballots = batch.to_vec();
        ballots.sort_by_key(|ballot| ballot.id);
        ballots.dedup_by_key(|ballot| ballot.id);
        let casts =
            self.0.run("cast", until, async |session, until| session.cast(&ballots, until).await).await;
        let casts = match casts {
            Ok(casts) => casts,
            Err(error) => {
                tracing::warn!(ballots = ballots.len(), %error, "casting a batch failed");
                return vec![Err(error); batch.len()];
            }
        };
        let mut answers: Vec<_> = casts.into_iter().map(Some).collect();
        batch
            .iter()
            .map(|ballot| {
                let place = ballots.binary_search_by_key(&ballot.id, |ballot| ballot.id);
                // The first requester of an id gets its answer; a double click within one batch is told the truth.
                let cast = place.ok().and_then(|place| answers.get_mut(place)?.take());
                Ok(cast.unwrap_or(Cast::AlreadyCounted))
            })
            .collect()
    }
}

/// Reads the tally once for a whole batch.
struct TallyBatch<B: Backend>(Connection<B>);

impl<B: Backend> BatchHandler for TallyBatch<B> {
    type Request = ();
    type Answer = Result<Tally, StoreError>;
    const MAX_BATCH: usize = 4096;

    async fn prepare(&mut self) -> Result<(), Self::Answer> {
        self.0.prepare().await.map_err(Err)
    }

    fn span(&self, parent: &Span) -> Span {
        call_span::<B>("tally", parent)
    }

    async fn handle(&mut self, batch: &[()], until: Instant) -> Vec<Self::Answer> {
        let tally = self.0.run("tally", until, async |session, _| session.tally().await).await;
        if let Err(error) = &tally {
            tracing::warn!(%error, "reading the tally failed");
        }
        vec![tally; batch.len()]
    }
}
