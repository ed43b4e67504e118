//! Wrong clocks: a library that is preloaded into a child process.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// The clock of a process, which can be wrong and jump.
#[derive(Debug)]
pub struct FakeClock {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl FakeClock {
    /// A clock that is this many seconds ahead of the machine's.
    pub fn ahead(seconds: i64) -> Self {
        Self::start(seconds, &[])
    }

    /// [`FakeClock::ahead`], on which timers run this many times as fast.
    pub fn fast(seconds: i64, speed: u32) -> Self {
        Self::start(seconds, &[("CLOCK_SPEED", speed.into())])
    }

    /// The machine's time, and timers that run this many times as fast in the first seconds of the process.
    pub fn fast_at_first(speed: u32, seconds: u32) -> Self {
        Self::start(0, &[("CLOCK_SPEED", speed.into()), ("CLOCK_FAST_SECONDS", seconds.into())])
    }

    fn start(seconds: i64, variables: &[(&str, u64)]) -> Self {
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
        let clock = Self { folder: TempDir::new().unwrap(), variables };
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
        variables.extend(self.variables.iter().cloned());
        variables
    }
}
