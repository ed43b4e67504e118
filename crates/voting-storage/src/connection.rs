//! One connection of a store: acquired, bounded by its deadline, measured and returned in one place.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Span, field};
use voting_batch::GaugeGuard;

use crate::backend::{Backend, Session as _};
use crate::metrics::StoreMetrics;
use crate::place::Place;
use crate::store::{Finding, Severity, StoreError, Timeouts};

/// A connection that is made on demand and dropped after a failure.
pub(crate) struct Connection<B: Backend> {
    backend: Arc<B>,
    session: Option<TrackedSession<B::Session>>,
    last_used: Instant,
    /// The length of the last successful call.
    last_call: Duration,
    last_connect: Option<Instant>,
    timeouts: Timeouts,
    metrics: StoreMetrics,
    last_error: LastError,
    findings: Findings,
    last_inspected: Instant,
    last_renewed: Instant,
}

/// A session that is counted among the open connections.
struct TrackedSession<S> {
    session: S,
    _open: GaugeGuard,
}

impl<B: Backend> Connection<B> {
    pub(crate) fn new(
        backend: &Arc<B>,
        timeouts: Timeouts,
        metrics: &StoreMetrics,
        last_error: &LastError,
        findings: &Findings,
    ) -> Self {
        Self {
            backend: backend.clone(),
            session: None,
            last_used: Instant::now(),
            last_call: Duration::ZERO,
            last_connect: None,
            timeouts,
            metrics: metrics.clone(),
            last_error: last_error.clone(),
            findings: findings.clone(),
            last_inspected: Instant::now(),
            last_renewed: Instant::now(),
        }
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Whether there is a connection: one was made, and no failure has ended it.
    pub(crate) fn is_open(&self) -> bool {
        self.session.is_some()
    }

    /// Runs one attempt of an operation, which ends after the attempt timeout, or by `deadline` if there is one. `call`
    /// gets the session and the time at which it is cut off.
    ///
    /// A batch has no deadline here, because its requesters do not wait for the call beyond theirs: a slow answer then
    /// comes too late for them, but does not cost the connection.
    ///
    /// The session is out of its place meanwhile and returns only after a success. So a failed, timed-out or cancelled
    /// attempt leaves no session in an unknown state.
    pub(crate) async fn run<T>(
        &mut self,
        operation: &'static str,
        deadline: Option<Instant>,
        call: impl AsyncFnOnce(&mut B::Session, Instant) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let limit = Instant::now() + self.timeouts.attempt;
        let until = deadline.map_or(limit, |deadline| deadline.min(limit));
        let mut tracked = match self.session.take() {
            Some(tracked) => tracked,
            None => self.connect(until).await?,
        };
        let start = Instant::now();
        let result = timeout_at(until, call(&mut tracked.session, until))
            .await
            .unwrap_or_else(|_| Err(StoreError::unconfirmed("no answer in time")));
        self.metrics.observe(operation, start.elapsed(), &result);
        match &result {
            Ok(_) => {
                self.session = Some(tracked);
                self.last_used = Instant::now();
                self.last_call = start.elapsed();
            }
            Err(_) => drop(Span::current().record("otel.status_code", "ERROR")),
        }
        self.note(&result);
        result
    }

    /// Connects if there is no connection. One that was idle is probed first: writing to a dead connection leaves the
    /// outcome unknown.
    pub(crate) async fn prepare(&mut self) -> Result<(), StoreError> {
        const IDLE: Duration = Duration::from_millis(500);
        let was_idle = self.last_used.elapsed() > IDLE;
        self.last_used = Instant::now();
        if was_idle {
            // A store may take this long for an answer and still serve two calls within a deadline.
            self.probe(self.timeouts.attempt * 3 / 4).await;
        }
        if self.session.is_none() { self.open().await } else { Ok(()) }
    }

    /// Checks that the store keeps this place, or has it keep it.
    pub(crate) fn check_place(&mut self, place: Place) -> Result<(), StoreError> {
        let Some(TrackedSession { session, .. }) = &mut self.session else { return Ok(()) };
        match session.place() {
            Some(kept) => Ok(place.check(kept)?),
            None => {
                session.expect_place(place);
                Ok(())
            }
        }
    }

    /// Whether [`Self::maintain`] has something to do: there is no connection, or the password, the settings or the clock of
    /// the store may have changed.
    pub(crate) fn needs_maintenance(&self) -> bool {
        /// A store that refuses connections is not flooded with them.
        const CONNECT_AFTER: Duration = Duration::from_secs(1);
        match self.session {
            Some(_) => self.is_inspection_due() || self.is_login_due(),
            None => self.last_connect.is_none_or(|last| last.elapsed() > CONNECT_AFTER),
        }
    }

    /// Logs in again, connects, or inspects the store, while no request waits for this connection.
    pub(crate) async fn maintain(&mut self) {
        if self.is_login_due() {
            self.renew_login().await;
        }
        if self.session.is_none() {
            // The next request that needs the connection gets the error.
            let _ = self.open().await;
        } else if self.is_inspection_due() {
            self.probe(self.timeouts.deadline).await;
        }
    }

    /// Whether the password may have changed since it was last compared.
    fn is_login_due(&self) -> bool {
        const RENEW_AFTER: Duration = Duration::from_secs(1);
        self.last_renewed.elapsed() > RENEW_AFTER
            && self.session.as_ref().is_some_and(|tracked| tracked.session.may_renew_login())
    }

    /// Logs in again if the password has changed. A connection that can't do so is dropped.
    async fn renew_login(&mut self) {
        self.last_renewed = Instant::now();
        let Some(mut tracked) = self.session.take() else { return };
        if timeout(self.timeouts.attempt, tracked.session.renew_login()).await.unwrap_or(false) {
            self.session = Some(tracked);
        }
    }

    /// Of a slow store, inspections take a hundredth of the time or two.
    fn is_inspection_due(&self) -> bool {
        const INSPECT_AFTER: Duration = Duration::from_secs(10);
        self.last_inspected.elapsed() > INSPECT_AFTER.max(self.last_call * 100)
    }

    /// Probes the connection, by an inspection if one is due. One that does not answer by the limit is dropped.
    async fn probe(&mut self, limit: Duration) {
        let is_due = self.is_inspection_due();
        let Some(mut tracked) = self.session.take() else { return };
        let session = &mut tracked.session;
        let probe =
            async { if is_due { self.inspect(session).await.is_ok() } else { session.is_alive().await } };
        if timeout(limit, probe).await.unwrap_or(false) {
            self.session = Some(tracked);
        }
    }

    /// Connects for later requests: it may take longer than most of those that are in the queue can wait. A request that
    /// comes first is still told why there is no connection.
    async fn open(&mut self) -> Result<(), StoreError> {
        let connected = self.connect(Instant::now() + self.timeouts.deadline * 9 / 10).await;
        self.session =
            Some(connected.inspect_err(|error| tracing::warn!(%error, "connecting to the store failed"))?);
        Ok(())
    }

    async fn connect(&mut self, until: Instant) -> Result<TrackedSession<B::Session>, StoreError> {
        let start = Instant::now();
        let connect = async {
            let mut session = self.backend.clone().connect().await?;
            self.inspect(&mut session).await?;
            Ok(session)
        };
        let session = timeout_at(until, connect).await.unwrap_or_else(|_| {
            let kind = B::KIND;
            Err(StoreError::unavailable(format!(
                "no connection in time: the store does not answer, or is no {kind} and waits for a request"
            )))
        });
        self.last_connect = Some(Instant::now());
        self.metrics.observe("connect", start.elapsed(), &session);
        self.note(&session);
        Ok(TrackedSession { session: session?, _open: self.metrics.connection() })
    }

    async fn inspect(&mut self, session: &mut B::Session) -> Result<(), StoreError> {
        self.findings.set(session.inspect().await?);
        self.last_inspected = Instant::now();
        Ok(())
    }

    fn note<T>(&self, result: &Result<T, StoreError>) {
        self.last_error.set(result.as_ref().err());
    }
}

/// The last error of a store's connections, until one of them succeeds; clones share it. It explains why requests
/// waited for a connection in vain.
#[derive(Clone, Default)]
pub(crate) struct LastError(Arc<Mutex<Option<StoreError>>>);

impl LastError {
    fn set(&self, error: Option<&StoreError>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some() || error.is_some() {
            *last = error.cloned();
        }
    }

    pub(crate) fn get(&self) -> Option<StoreError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The findings of the last inspection of a store; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Findings(Arc<Mutex<Vec<Finding>>>);

impl Findings {
    /// Replaces them, and logs the differences.
    fn set(&self, new: Vec<Finding>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_in = |list: &[Finding], one: &Finding| {
            list.iter().any(|each| (each.subject, each.severity) == (one.subject, one.severity))
        };
        for Finding { subject, severity, text } in new.iter().filter(|finding| !is_in(&last, finding)) {
            match severity {
                Severity::Note => tracing::info!(subject, finding = text, "store inspected"),
                Severity::Warning | Severity::Refusal => {
                    tracing::warn!(subject, ?severity, finding = text, "store inspected");
                }
            }
        }
        for Finding { subject, severity, .. } in last.iter().filter(|finding| !is_in(&new, finding)) {
            tracing::info!(subject, ?severity, "store inspected, finding no longer applies");
        }
        *last = new;
    }

    pub(crate) fn get(&self) -> Vec<Finding> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The span of one call to the store, in OpenTelemetry's conventions for database clients.
pub(crate) fn call_span<B: Backend>(operation: &'static str, parent: &Span) -> Span {
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
