//! The log's way to the standard output: a bounded buffer that one thread empties.
//!
//! A request hands a finished line over and goes on, so a slow or stalled reader of the log delays no request. While
//! the buffer is full, lines are dropped and counted.

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::AsFd as _;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// The longest line that a client can cause has some 32 KiB: a path that fills the request's header, each character
/// escaped. So the buffer never holds more than 64 MiB, half of the memory limit of the deployed services; with the
/// usual 300 bytes per line it holds 600 KiB.
const MAX_BUFFERED_LINES: usize = 2048;

/// Lines are written together up to this size. The kernel never splits a write of this size to a pipe (`PIPE_BUF`), so
/// lines stay whole even if several programs write to one pipe.
const MAX_WRITE_BYTES: usize = 4096;

/// A reader that has stalled must not hold up the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static DROPPED_LINES: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines that the log of this process has dropped.
pub(crate) fn dropped_lines() -> u64 {
    DROPPED_LINES.get().map_or(0, |lines| lines.dropped_lines() as u64)
}

/// Starts the thread that writes to the standard output.
///
/// # Errors
/// There is no standard output.
pub(crate) fn start() -> io::Result<(NonBlocking, LogGuard)> {
    // Not `Stdout`, whose buffer ends at each line and whose lock `println!` shares.
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let (log, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_BUFFERED_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(BufWriter::with_capacity(MAX_WRITE_BYTES, output));
    let _ = DROPPED_LINES.set(log.error_counter());
    Ok((log, LogGuard(Some(guard))))
}

/// Writes the buffered lines when it is dropped, for at most [`FLUSH_TIMEOUT`].
#[derive(Debug)]
pub(crate) struct LogGuard(Option<WorkerGuard>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        let guard = self.0.take();
        let (done, flushed) = mpsc::channel::<()>();
        // Not on this thread: if the buffer stays full, the guard says so with `println!`, which blocks on a stalled
        // pipe.
        let flush = thread::Builder::new().name("log-flush".to_owned()).spawn(move || {
            drop(guard);
            drop(done);
        });
        if flush.is_ok() {
            // Ends with an error either way: the sender is gone, or it is too late.
            let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}
