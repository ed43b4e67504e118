//! Cleaning up after the test's process, however it ends.

use std::process::{Child, Command, Stdio};

/// Runs a command when it is dropped or when this process ends, even by a kill.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// It waits for the end of its input.
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
