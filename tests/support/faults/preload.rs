//! The wall clock and the disk of a program, under the control of a test.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::clock::FakeClock;

/// The state of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    Writable,
    Full,
    ReadOnly,
}

/// Controls one program, which was started with [`Preload::variables`].
#[derive(Debug)]
pub struct Preload {
    clock: FakeClock,
    folder: TempDir,
}

impl Preload {
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("control"), [0; 8]).unwrap();
        Self { clock: FakeClock::ahead(0), folder }
    }

    /// The environment of the program.
    pub fn variables(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut variables = self.clock.variables();
        for (name, libraries) in &mut variables {
            if name == "LD_PRELOAD" {
                *libraries += &format!(":{}", text(library()));
            }
        }
        variables.push(("DISK_ERROR".to_owned(), text(&self.control())));
        variables
    }

    /// Shifts the program's wall clock by this number of seconds.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.clock.set(seconds);
    }

    /// Changes the state of the disk.
    pub fn set_disk(&self, disk: Disk) {
        let error = match disk {
            Disk::Writable => 0,
            Disk::Full => libc::ENOSPC,
            Disk::ReadOnly => libc::EROFS,
        };
        let control = std::fs::File::options().write(true).open(self.control()).unwrap();
        control.write_all_at(&i64::from(error).to_ne_bytes(), 0).unwrap();
    }

    fn control(&self) -> PathBuf {
        self.folder.path().join("control")
    }
}

/// The library, compiled once per process.
fn library() -> &'static Path {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let source = root.join("support/faults/preload.c");
        let folder = root.join("../target/faults");
        std::fs::create_dir_all(&folder).unwrap();
        let own = folder.join(format!("preload-{}.so", std::process::id()));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&own).arg(source);
        assert!(compiler.status().expect("no C compiler `cc`").success(), "compiling the library failed");
        // Other test programs do the same at the same time.
        let library = folder.join("preload.so");
        std::fs::rename(&own, &library).unwrap();
        library.canonicalize().unwrap()
    })
}
