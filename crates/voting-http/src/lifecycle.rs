//! Ready, draining, gone: the states of a service that is asked to leave.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long the phases of a shutdown may take.
#[derive(Clone, Copy, Debug)]
pub struct ShutdownTimeouts {
    /// Not ready, but still accepting connections.
    pub wait: Duration,
    /// Finishing requests in flight.
    pub deadline: Duration,
}

/// The state of a service; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<Tokens>);

/// Shared, because a clone of a token takes a lock, and every request has a clone.
#[derive(Debug, Default)]
struct Tokens {
    draining: CancellationToken,
    closing: CancellationToken,
}

impl Lifecycle {
    /// A service that runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it was asked to leave: it is not ready any more.
    pub fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Until it takes no more connections and ends what has no end, such as streams of events.
    pub async fn closing(&self) {
        self.0.closing.cancelled().await;
    }

    /// Leaves now: not ready and closing at once.
    pub fn close(&self) {
        self.0.draining.cancel();
        self.0.closing.cancel();
    }

    /// Leaves on SIGTERM (not ready, wait, close) or SIGINT (close at once).
    ///
    /// # Errors
    /// The signals can't be listened to.
    pub fn close_on_signals(&self, shutdown: ShutdownTimeouts) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let lifecycle = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {
                    tracing::info!(wait = ?shutdown.wait, "Asked to leave: not ready from now on.");
                    lifecycle.0.draining.cancel();
                    // Impatience is allowed: an interrupt ends the wait.
                    tokio::select! {
                        () = tokio::time::sleep(shutdown.wait) => {}
                        _ = interrupt.recv() => {}
                    }
                }
            }
            tracing::info!("Taking no more connections; finishing what is in flight.");
            lifecycle.close();
        });
        Ok(())
    }
}
