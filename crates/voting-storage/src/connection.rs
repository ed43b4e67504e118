//! One connection of a store: acquired, bounded by its deadline, measured and returned in one place.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Span, field};
use voting_batch::GaugeGuard;

use crate::backend::{Backend, Session as _};
use crate::metrics::StoreMetrics;
use crate::store::{Finding, Severity, StoreError, Timeouts};

/// A connection that is made on demand and dropped after a failure.
pub(crate) struct Connection<B: Backend> {
    backend: Arc<B>,
    session: Option<TrackedSession<B::Session>>,
    last_used: Instant,
    has_failed: bool,
    attempt: Duration,
    metrics: StoreMetrics,
    last_error: LastError,
    findings: Findings,
    last_inspected: Instant,
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
            has_failed: false,
            attempt: timeouts.attempt,
            metrics: metrics.clone(),
            last_error: last_error.clone(),
            findings: findings.clone(),
            last_inspected: Instant::now(),
        }
    }

    /// Whether the last use succeeded.
    pub(crate) fn is_healthy(&self) -> bool {
        !self.has_failed
    }

    /// Runs one attempt of an operation, which ends by `deadline` or after the attempt timeout. `call` gets the session
    /// and the time at which it is cut off.
    ///
    /// The session is out of its place meanwhile and returns only after a success. So a failed, timed-out or cancelled
    /// attempt leaves no session in an unknown state.
    pub(crate) async fn run<T>(
        &mut self,
        operation: &'static str,
        deadline: Instant,
        call: impl AsyncFnOnce(&mut B::Session, Instant) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let until = deadline.min(Instant::now() + self.attempt);
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
            }
            Err(_) => drop(Span::current().record("otel.status_code", "ERROR")),
        }
        self.note(&result);
        result
    }

    /// Connects if there is no connection. One that was idle is probed first: writing to a dead connection leaves the
    /// outcome unknown. From time to time the store is inspected again: its settings and its clock may have changed.
    pub(crate) async fn prepare(&mut self) -> Result<(), StoreError> {
        const IDLE: Duration = Duration::from_millis(500);
        const INSPECT_AFTER: Duration = Duration::from_secs(10);
        // A store may take this long for an answer and still serve two calls within a deadline.
        let limit = self.attempt * 3 / 4;
        let is_due = self.last_inspected.elapsed() > INSPECT_AFTER;
        let was_idle = self.last_used.elapsed() > IDLE;
        self.last_used = Instant::now();
        // An inspection is a probe as well.
        if (is_due || was_idle)
            && let Some(mut tracked) = self.session.take()
        {
            let session = &mut tracked.session;
            let probe =
                async { if is_due { self.inspect(session).await.is_ok() } else { session.is_alive().await } };
            if timeout(limit, probe).await.unwrap_or(false) {
                self.session = Some(tracked);
            }
        }
        if self.session.is_none() {
            let connected = self.connect(Instant::now() + self.attempt).await;
            self.session = Some(
                connected.inspect_err(|error| tracing::warn!(%error, "connecting to the store failed"))?,
            );
        }
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
            Err(StoreError::unavailable("no connection in time: the store does not answer"))
        });
        self.metrics.observe("connect", start.elapsed(), &session);
        self.note(&session);
        Ok(TrackedSession { session: session?, _open: self.metrics.connection() })
    }

    async fn inspect(&mut self, session: &mut B::Session) -> Result<(), StoreError> {
        self.findings.set(session.inspect().await?);
        self.last_inspected = Instant::now();
        Ok(())
    }

    fn note<T>(&mut self, result: &Result<T, StoreError>) {
        self.has_failed = result.is_err();
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
