//! The states of a service: running, draining, closing.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Durations of the phases of a shutdown.
#[derive(Clone, Copy, Debug)]
pub struct ShutdownTimeouts {
    /// Draining: not ready, but still accepting connections.
    pub wait: Duration,
    /// Closing: finishing requests in flight.
    pub deadline: Duration,
}

/// The state of a service, at first running; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<Tokens>);

/// Shared: cloning a token takes a lock, and every request clones the lifecycle.
#[derive(Debug, Default)]
struct Tokens {
    draining: CancellationToken,
    closing: CancellationToken,
}

impl Lifecycle {
    /// A running service.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the shutdown has begun.
    pub fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Completes when the service stops accepting connections. Endless responses, such as event streams, end then.
    pub async fn closing(&self) {
        self.0.closing.cancelled().await;
    }

    /// Closes at once, without draining.
    pub fn close(&self) {
        self.0.draining.cancel();
        self.0.closing.cancel();
    }

    /// Shuts down on SIGTERM (drain, then close) or SIGINT (close at once).
    ///
    /// # Errors
    /// The signal handlers can't be installed.
    pub fn close_on_signals(&self, shutdown: ShutdownTimeouts) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let lifecycle = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {
                    tracing::info!(wait = ?shutdown.wait, "SIGTERM received, draining");
                    lifecycle.0.draining.cancel();
                    // An interrupt cuts the wait short.
                    tokio::select! {
                        () = tokio::time::sleep(shutdown.wait) => {}
                        _ = interrupt.recv() => {}
                    }
                }
            }
            tracing::info!("closing, finishing requests in flight");
            lifecycle.close();
        });
        Ok(())
    }
}
