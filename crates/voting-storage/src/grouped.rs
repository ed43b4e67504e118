//! What every backend has in common: grouping, deadlines, retries and reconnection.
//!
//! A backend only says how to connect ([`Backend`]) and what one attempt does on a connection ([`Session`]).
//! [`Grouped`] makes a [`VoteStore`] of it with a few connections: ballots go through one [`Lane`], and reads through
//! another. The rare rest (reset, snapshot, merge) uses a connection of its own each time.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout};
use tracing::{Span, field};

use crate::ballot::{Ballot, BallotId, Cast};
use crate::lane::{Abandoned, Lane, Worker};
use crate::metrics::{Counted, StoreMetrics};
use crate::store::{Limits, StoreError, StoreKind, VoteStore};
use crate::tally::{Snapshot, Tally};

/// How to reach one kind of store.
#[async_trait]
pub(crate) trait Backend: Send + Sync + 'static {
    type Session: Session;

    const KIND: StoreKind;
    /// How many groups of ballots may be on their way at the same time, each on a connection of its own.
    const CASTERS: u8;

    /// A connection to a store that is ready to be used: its schema is made, if it has one.
    async fn connect(&self) -> Result<Self::Session, StoreError>;
}

/// One connection. Each method is one attempt; after an error or a time-out the session is dropped.
#[async_trait]
pub(crate) trait Session: Send + 'static {
    /// Counts these ballots, all of them or, on an error other than `Unconfirmed`, none. They come in the order of
    /// their ids, of which no two are equal. The caller gives up at `until`; a store that can tell must not count them
    /// later.
    async fn cast(&mut self, ballots: &[Ballot], until: Instant) -> Result<Vec<Cast>, StoreError>;
    /// Whether the store still answers; asked of a connection that was idle.
    async fn is_alive(&mut self) -> bool;
    async fn tally(&mut self) -> Result<Tally, StoreError>;
    async fn reset(&mut self) -> Result<(), StoreError>;
    async fn snapshot(&mut self) -> Result<Snapshot, StoreError>;
    async fn merge(&mut self, snapshot: &Snapshot) -> Result<(), StoreError>;

    /// Deletes ids that were made before this time, since the Unix epoch, a bounded number; whether there may be
    /// more. For stores that don't expire them by themselves.
    async fn forget(&mut self, made_before: Duration) -> Result<bool, StoreError>;
}

/// A store whose concurrent work is grouped.
pub(crate) struct Grouped<B: Backend> {
    backend: Arc<B>,
    limits: Limits,
    metrics: StoreMetrics,
    casts: Lane<Caster<B>>,
    reads: Lane<Reader<B>>,
}

impl<B: Backend> Grouped<B> {
    pub(crate) fn start(backend: B, limits: Limits, metrics: StoreMetrics) -> Self {
        let backend = Arc::new(backend);
        tokio::spawn(forget_old_ballots(Arc::downgrade(&backend), limits.attempt));
        let line = || Line::new(&backend, limits, &metrics);
        Self {
            casts: Lane::start((0..B::CASTERS).map(|_| Caster(line())), metrics.lane("cast")),
            reads: Lane::start([Reader(line())], metrics.lane("tally")),
            backend,
            limits,
            metrics,
        }
    }

    /// A line for something rare.
    fn line(&self) -> Line<B> {
        Line::new(&self.backend, self.limits, &self.metrics)
    }
}

#[async_trait]
impl<B: Backend> VoteStore for Grouped<B> {
    fn kind(&self) -> StoreKind {
        B::KIND
    }

    async fn cast(&self, ballot: Ballot) -> Result<Cast, StoreError> {
        retry(self.limits.deadline, |deadline| ask(&self.casts, ballot, deadline)).await
    }

    async fn tally(&self) -> Result<Tally, StoreError> {
        retry(self.limits.deadline, |deadline| ask(&self.reads, (), deadline)).await
    }

    async fn reset(&self) -> Result<(), StoreError> {
        let reset = |_| async {
            let mut line = self.line();
            let (mut session, within) = line.session().await?;
            line.bounded("reset", within, session.reset()).await
        };
        retry(self.limits.deadline, reset).await
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let read = |_| async {
            let mut line = self.line();
            let (mut session, within) = line.session().await?;
            line.bounded("snapshot", within, session.snapshot()).await
        };
        retry(self.limits.deadline, read).await
    }

    async fn merge(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let merge = |_| async {
            let mut line = self.line();
            let (mut session, within) = line.session().await?;
            line.bounded("merge", within, session.merge(snapshot)).await
        };
        retry(self.limits.deadline, merge).await
    }
}

/// Tries again until the deadline, with pauses that grow; only what can't help is not tried again. Safe because
/// every operation gives the same result when it is done twice.
async fn retry<T, F: Future<Output = Result<T, StoreError>>>(
    within: Duration,
    attempt: impl Fn(Instant) -> F,
) -> Result<T, StoreError> {
    let deadline = Instant::now() + within;
    let mut pause = Duration::from_millis(20);
    let mut open = None;
    loop {
        let error = match attempt(deadline).await {
            Ok(done) => return Ok(done),
            Err(error @ StoreError::Unusable(_)) => return Err(open.unwrap_or(error)),
            Err(error) => error,
        };
        if matches!(error, StoreError::Unconfirmed(_)) {
            open = Some(error.clone());
        }
        if Instant::now() + pause >= deadline {
            // What an earlier attempt left open stays open, however the last one failed.
            return Err(open.unwrap_or(error));
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

async fn ask<W, T>(lane: &Lane<W>, request: W::Request, deadline: Instant) -> Result<T, StoreError>
where
    W: Worker<Answer = Result<T, StoreError>>,
{
    lane.ask(request, deadline).await.unwrap_or_else(|abandoned| {
        Err(match abandoned {
            Abandoned::Waiting => StoreError::unavailable("too much is waiting for it"),
            Abandoned::Running => StoreError::unconfirmed("no answer in time"),
        })
    })
}

/// A connection that is made when it is needed and dropped when it failed.
struct Line<B: Backend> {
    backend: Arc<B>,
    session: Option<Open<B::Session>>,
    /// When it was last made ready for a group.
    used: Instant,
    attempt: Duration,
    metrics: StoreMetrics,
}

/// A session that is counted among the open connections.
struct Open<S> {
    session: S,
    _counted: Counted,
}

impl<S> std::ops::Deref for Open<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.session
    }
}

impl<S> std::ops::DerefMut for Open<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.session
    }
}

impl<B: Backend> Line<B> {
    fn new(backend: &Arc<B>, limits: Limits, metrics: &StoreMetrics) -> Self {
        Self {
            backend: backend.clone(),
            session: None,
            used: Instant::now(),
            attempt: limits.attempt,
            metrics: metrics.clone(),
        }
    }

    /// The connection, made now if there is none, and until when an attempt that starts now may take.
    ///
    /// It is out of its place while it is used; who succeeds puts it back. So a failed, timed-out or cancelled attempt
    /// leaves no session behind whose state nobody knows.
    async fn session(&mut self) -> Result<(Open<B::Session>, Instant), StoreError> {
        let within = Instant::now() + self.attempt;
        let session = match self.session.take() {
            Some(session) => session,
            None => self.connect(within).await?,
        };
        Ok((session, within))
    }

    async fn connect(&mut self, within: Instant) -> Result<Open<B::Session>, StoreError> {
        let start = Instant::now();
        let session = tokio::time::timeout_at(within, self.backend.connect())
            .await
            .unwrap_or_else(|_| Err(StoreError::unavailable("no connection in time")));
        self.metrics.observe("connect", start.elapsed(), &session);
        Ok(Open { session: session?, _counted: self.metrics.connection() })
    }

    /// Makes the connection if there is none. One that was idle is tried first: on a dead one a vote would be sent
    /// into the void, and nobody could say what became of it.
    async fn prepare(&mut self) -> Result<(), StoreError> {
        const IDLE: Duration = Duration::from_millis(500);
        let was_idle = self.used.elapsed() > IDLE;
        self.used = Instant::now();
        if was_idle
            && let Some(mut session) = self.session.take()
            && timeout(self.attempt / 2, session.is_alive()).await.unwrap_or(false)
        {
            self.session = Some(session);
        }
        let connected = self.session().await;
        let (session, _) =
            connected.inspect_err(|error| tracing::warn!(%error, "No connection to the store."))?;
        self.session = Some(session);
        Ok(())
    }

    /// What `work` gives, unless it takes too long; measured as this operation.
    async fn bounded<T>(
        &mut self,
        operation: &'static str,
        within: Instant,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let start = Instant::now();
        let result = tokio::time::timeout_at(within, work)
            .await
            .unwrap_or_else(|_| Err(StoreError::unconfirmed("no answer in time")));
        self.metrics.observe(operation, start.elapsed(), &result);
        if result.is_err() {
            Span::current().record("otel.status_code", "ERROR");
        }
        result
    }
}

/// The span of one call to the store, in OpenTelemetry's conventions for database clients.
fn call_span<B: Backend>(operation: &'static str, parent: &Span) -> Span {
    tracing::debug_span!(
        parent: parent,
        "store",
        otel.name = operation,
        otel.kind = "client",
        otel.status_code = field::Empty,
        db.system.name = B::KIND.to_string().to_lowercase(),
        db.operation.name = operation,
    )
}

/// Casts groups of ballots.
struct Caster<B: Backend>(Line<B>);

impl<B: Backend> Caster<B> {
    async fn cast(&mut self, ballots: &[Ballot], until: Instant) -> Result<Vec<Cast>, StoreError> {
        let (mut session, within) = self.0.session().await?;
        let until = until.min(within);
        let casts = self.0.bounded("cast", until, session.cast(ballots, until)).await?;
        self.0.session = Some(session);
        Ok(casts)
    }
}

impl<B: Backend> Worker for Caster<B> {
    type Request = Ballot;
    type Answer = Result<Cast, StoreError>;
    const MAX_GROUP: usize = 512;

    async fn prepare(&mut self) -> Result<(), Self::Answer> {
        self.0.prepare().await.map_err(Err)
    }

    fn span(&self, parent: &Span) -> Span {
        call_span::<B>("cast", parent)
    }

    async fn serve(&mut self, group: &[Ballot], until: Instant) -> Vec<Self::Answer> {
        // In the order of their ids: two replicas that hold the same ballots lock them in the same order.
        let mut ballots = group.to_vec();
        ballots.sort_by_key(|ballot| ballot.id);
        ballots.dedup_by_key(|ballot| ballot.id);
        let casts = match self.cast(&ballots, until).await {
            Ok(casts) => casts,
            Err(error) => {
                tracing::warn!(ballots = ballots.len(), %error, "A group of ballots was not stored.");
                return vec![Err(error); group.len()];
            }
        };
        let mut answers: Vec<_> = casts.into_iter().map(Some).collect();
        group
            .iter()
            .map(|ballot| {
                let place = ballots.binary_search_by_key(&ballot.id, |ballot| ballot.id);
                // The first requester of an id takes its answer; a double click in one group is told the truth.
                let cast = place.ok().and_then(|place| answers.get_mut(place)?.take());
                Ok(cast.unwrap_or(Cast::AlreadyCounted))
            })
            .collect()
    }
}

/// Reads the tally once for all who wait.
struct Reader<B: Backend>(Line<B>);

impl<B: Backend> Reader<B> {
    async fn tally(&mut self, until: Instant) -> Result<Tally, StoreError> {
        let (mut session, within) = self.0.session().await?;
        let tally = self.0.bounded("tally", until.min(within), session.tally()).await?;
        self.0.session = Some(session);
        Ok(tally)
    }
}

impl<B: Backend> Worker for Reader<B> {
    type Request = ();
    type Answer = Result<Tally, StoreError>;
    const MAX_GROUP: usize = 4096;

    async fn prepare(&mut self) -> Result<(), Self::Answer> {
        self.0.prepare().await.map_err(Err)
    }

    fn span(&self, parent: &Span) -> Span {
        call_span::<B>("tally", parent)
    }

    async fn serve(&mut self, group: &[()], until: Instant) -> Vec<Self::Answer> {
        let tally = self.tally(until).await;
        if let Err(error) = &tally {
            tracing::warn!(%error, "The tally could not be read.");
        }
        vec![tally; group.len()]
    }
}

/// Deletes ids that nobody takes any more, now and then, until the store is dropped.
async fn forget_old_ballots<B: Backend>(backend: std::sync::Weak<B>, attempt: Duration) {
    const PAUSE: Duration = Duration::from_secs(10 * 60);
    loop {
        sleep(PAUSE).await;
        let Some(backend) = backend.upgrade() else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let made_before = now.saturating_sub(BallotId::REMEMBERED);
        let work = async {
            let mut session = backend.connect().await?;
            while timeout(attempt, session.forget(made_before)).await.unwrap_or(Ok(false))? {}
            Ok::<_, StoreError>(())
        };
        if let Err(error) = work.await {
            tracing::warn!(%error, "Old ballot ids could not be deleted; will try again.");
        }
    }
}
