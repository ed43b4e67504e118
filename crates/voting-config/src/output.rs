//! Results on the standard output.

use std::io::{self, Write as _};

/// Prints a text. A closed pipe is no error: its reader has all that it wanted.
///
/// # Errors
/// The output can't be written, because a disk is full for instance.
pub fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(io::Error::new(error.kind(), format!("can't write to the standard output: {error}")))
        }
        _ => Ok(()),
    }
}
