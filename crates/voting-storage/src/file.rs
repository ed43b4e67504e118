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

/// The content of a file in PEM: how it is recognized, and its name.
#[derive(Clone, Copy, Debug)]
pub struct Pem(&'static str, &'static str);

impl Pem {
    /// A certificate.
    pub const CERTIFICATE: Self = Self("-----BEGIN CERTIFICATE-----", "certificate");
    /// A private key, of any kind.
    #[cfg(feature = "mysql")]
    pub(crate) const KEY: Self = Self("PRIVATE KEY-----", "private key");

    /// Checks that a file has this content. The drivers take a file without a certificate for one of no authority, and reject
    /// every server.
    ///
    /// # Errors
    /// The reason, to follow the name of the file.
    pub fn check(self, path: &Path) -> Result<(), String> {
        let Self(mark, name) = self;
        let content = read_file(path).map_err(|error| format!("can't be read ({error})"))?;
        let has_content = String::from_utf8_lossy(&content).contains(mark);
        if has_content { Ok(()) } else { Err(format!("has no {name}")) }
    }
}
