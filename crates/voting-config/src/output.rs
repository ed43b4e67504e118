//! Results on the standard output.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the standard output was closed when the program started. Before `main`, the standard library opens `/dev/null` in
/// its place, which takes a backup and keeps nothing.
static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

#[allow(unsafe_code, reason = "the standard library has no hook before it replaces closed files")]
extern "C" fn note_closed_output() {
    // SAFETY: fcntl(2) with F_GETFD takes two numbers and accesses no memory of this process.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    WAS_CLOSED.store(flags == -1, Ordering::Relaxed);
}

/// Functions that the system calls when it loads the program.
#[used]
#[allow(unsafe_code, reason = "see note_closed_output, which needs nothing that is set up later")]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
static AT_START: extern "C" fn() = note_closed_output;

/// Prints a text. A closed pipe is no error: its reader has all that it wanted.
///
/// # Errors
/// The output can't be written, because a disk is full or it was closed.
pub fn print(text: &str) -> io::Result<()> {
    if WAS_CLOSED.load(Ordering::Relaxed) {
        return Err(io::Error::new(
            io::ErrorKind::NotConnected,
            "can't write to the standard output: it is closed",
        ));
    }
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(io::Error::new(error.kind(), format!("can't write to the standard output: {error}")))
        }
        _ => Ok(()),
    }
}
