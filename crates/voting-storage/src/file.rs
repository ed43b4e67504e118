//! Reading the files of settings.

use std::io;
use std::path::Path;

/// Reads a file. Others than regular ones are rejected: a pipe may never end, and has its content once only.
///
/// # Errors
/// The file can't be read, or is not a regular file, nor a link to one.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Before it is opened, which waits for a writer of a pipe.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file or a link to one"));
    }
    std::fs::read(path)
}
