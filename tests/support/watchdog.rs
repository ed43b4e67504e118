//! Cleaning up after the test's process, however it ends.

use std::process::{ChildStdin, Command, Stdio};

/// Runs a command when it is dropped or when this process ends, even by a kill.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// A shell waits at the other end.
    _pipe: ChildStdin,
}

impl Watchdog {
    pub(crate) fn new(command: &str) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", &format!("trap '' INT TERM; read _; {command}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { _pipe: shell.stdin.take().unwrap() }
    }
}
