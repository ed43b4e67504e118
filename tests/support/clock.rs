//! Wrong clocks: a library that is preloaded into a child process.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// The clock of a process, which can be wrong and jump.
#[derive(Debug)]
pub struct FakeClock {
    folder: TempDir,
    speed: u32,
}

impl FakeClock {
    /// A clock that is this many seconds ahead of the machine's.
    pub fn ahead(seconds: i64) -> Self {
        Self::start(seconds, 1)
    }

    /// [`FakeClock::ahead`], on which timers run this many times as fast.
    pub fn fast(seconds: i64, speed: u32) -> Self {
        Self::start(seconds, speed)
    }

    fn start(seconds: i64, speed: u32) -> Self {
        let clock = Self { folder: TempDir::new().unwrap(), speed };
        let source = clock.folder.path().join("clock.c");
        std::fs::write(&source, include_str!("clock.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(clock.library()).arg(&source);
        assert!(compiler.status().expect("no C compiler").success());
        clock.set(seconds);
        clock
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("clock.so")
    }

    /// Makes the clock jump.
    pub fn set(&self, seconds_ahead: i64) {
        let [new, file] = ["new", "offset"].map(|name| self.folder.path().join(name));
        std::fs::write(&new, seconds_ahead.to_string()).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// The environment of the process.
    pub fn variables(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut variables = vec![
            ("LD_PRELOAD".to_owned(), text(self.library())),
            ("CLOCK_OFFSET".to_owned(), text(self.folder.path().join("offset"))),
        ];
        if self.speed > 1 {
            variables.push(("CLOCK_SPEED".to_owned(), self.speed.to_string()));
        }
        variables
    }
}
