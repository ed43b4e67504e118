//! The reader of a program's log, which can stop reading.

use std::ffi::CString;
use std::path::PathBuf;

use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// A named pipe and its reader.
pub(super) struct Log {
    folder: TempDir,
    blocked: watch::Sender<bool>,
    reader: AbortHandle,
}

impl Log {
    #[allow(unsafe_code, reason = "the standard library makes no named pipes")]
    pub(super) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("log");
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: mkfifo(3) reads the string, which ends with a null byte, and nothing else.
        let done = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        // Open for writing too, so that the pipe does not end with a program that is killed.
        let mut receiver = pipe::OpenOptions::new().read_write(true).open_receiver(&path).unwrap();
        let blocked = watch::Sender::new(false);
        let mut is_blocked = blocked.subscribe();
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while is_blocked.wait_for(|is_blocked| !is_blocked).await.is_ok() {
                tokio::select! {
                    read = receiver.read(&mut buffer) => drop(read.unwrap()),
                    _ = is_blocked.changed() => {}
                }
            }
        });
        Self { folder, blocked, reader: reader.abort_handle() }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Stops or resumes reading.
    pub(super) fn block(&self, is_blocked: bool) {
        self.blocked.send_replace(is_blocked);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
