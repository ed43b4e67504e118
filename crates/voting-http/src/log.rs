//! The log's way to the standard output: a bounded buffer that one thread empties.
//!
//! A request hands a finished line over and goes on, so a slow or stalled reader of the log delays no request. While
//! the buffer is full, or the output fails (a full disk, a closed pipe), lines are dropped and counted.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// Pause after all lines are written. A busy service then wakes the thread once per pause, not once per line, which took a
/// tenth of its CPU time; a lone line is written at once.
const PAUSE: Duration = Duration::from_millis(1);

/// A reader that has stalled must not hold up the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Lines for which the buffer had no room.
static REJECTED_LINES: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines that the output did not take.
static FAILED_LINES: AtomicU64 = AtomicU64::new(0);

/// Lines that the log of this process has dropped.
pub(crate) fn dropped_lines() -> u64 {
    let rejected = REJECTED_LINES.get().map_or(0, |lines| lines.dropped_lines() as u64);
    rejected + FAILED_LINES.load(Ordering::Relaxed)
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
        .finish(LineWriter { output, lines: Vec::with_capacity(MAX_WRITE_BYTES) });
    let _ = REJECTED_LINES.set(log.error_counter());
    Ok((log, LogGuard(Some(guard))))
}

/// Collects lines up to [`MAX_WRITE_BYTES`]. Those that the output does not take are dropped, not kept for the next attempt as
/// by a `BufWriter`.
struct LineWriter<W> {
    output: W,
    lines: Vec<u8>,
}

impl<W: Write> LineWriter<W> {
    fn send(&mut self) {
        let mut sent = 0;
        while sent < self.lines.len() {
            match self.output.write(&self.lines[sent..]) {
                Ok(length @ 1..) => sent += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => break,
            }
        }
        let (sent, unsent) = self.lines.split_at(sent);
        let dropped = unsent.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        FAILED_LINES.fetch_add(dropped as u64, Ordering::Relaxed);
        // The next line must not continue one that was written in part.
        let is_torn = match sent.last() {
            Some(last) => *last != b'\n',
            None => unsent.starts_with(b"\n"),
        };
        self.lines.clear();
        if is_torn {
            self.lines.push(b'\n');
        }
    }
}

/// Never fails: the thread that writes drops further lines of the buffer after an error, without a count.
impl<W: Write> Write for LineWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.len() + line.len() > MAX_WRITE_BYTES {
            self.send();
        }
        self.lines.extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send();
        thread::sleep(PAUSE);
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes this number of bytes, then fails.
    struct Limited(usize, Vec<u8>);

    impl Write for Limited {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            self.1.extend_from_slice(&bytes[..taken]);
            if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_that_the_output_does_not_take_is_counted_once() {
        let mut log = LineWriter { output: Limited(1005, Vec::new()), lines: Vec::new() };
        let before = dropped_lines();
        for _ in 0..1000 {
            log.write_all(b"123456789\n").unwrap();
        }
        log.flush().unwrap();
        log.flush().unwrap();
        assert_eq!(dropped_lines() - before, 900);
        // There is room again.
        log.output.0 = 1000;
        log.write_all(b"abc\n").unwrap();
        log.flush().unwrap();
        assert_eq!(dropped_lines() - before, 900);
        assert!(log.output.1.ends_with(b"123456789\n12345\nabc\n"));
    }
}
