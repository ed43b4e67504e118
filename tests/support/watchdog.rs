//! Clean-up that also works if the test process is killed.

use std::process::{Child, Command, Stdio};

/// Runs a command on drop or at the end of this process, even after `kill -9`.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// Waits for the end of its standard input.
    shell: Child,
}

impl Watchdog {
    pub(crate) fn new(command: &str) -> Self {
        let shell = Command::new("sh")
            .args(["-c", &format!("trap '' INT TERM; read _; {command}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { shell }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
