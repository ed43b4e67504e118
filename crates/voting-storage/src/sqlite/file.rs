//! The identity of an open SQLite file: votes must not go to a file that was removed or replaced.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::store::StoreError;

/// The files of an open database: the database and its write-ahead log with its index.
#[derive(Debug)]
pub(super) struct OpenFile {
    files: Vec<(PathBuf, Option<FileId>)>,
}

/// Device and number of a file.
type FileId = (u64, u64);

impl OpenFile {
    /// The files at this path. Those of the write-ahead log exist from the first transaction on.
    pub(super) fn at(path: &Path) -> Self {
        let with = |suffix: &str| {
            let mut path = path.as_os_str().to_owned();
            path.push(suffix);
            let path = PathBuf::from(path);
            let id = id(&path);
            (path, id)
        };
        Self { files: ["", "-wal", "-shm"].map(with).into() }
    }

    /// Whether a database is at the path.
    pub(super) fn exists(&self) -> bool {
        self.files[0].1.is_some()
    }

    /// Checks that the files are still at their path.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: one was removed or replaced, so the connection reads and writes a file without a
    /// name. The next connection opens the file at the path.
    pub(super) fn check(&mut self) -> Result<(), StoreError> {
        for (path, open) in &mut self.files {
            let now = id(path);
            match open {
                Some(_) if *open != now => {
                    let path = path.display();
                    return Err(StoreError::unavailable(format!(
                        "{path} was removed or replaced while in use"
                    )));
                }
                Some(_) => {}
                None => *open = now,
            }
        }
        Ok(())
    }
}

/// Rejects a file that has several names: the write-ahead log is found by the name, so processes that use different names
/// would not see each other's votes.
///
/// # Errors
/// [`StoreError::Unusable`]: a hard link, or a file that is mounted by itself, as into a container.
pub(super) fn check_single_name(path: &Path) -> Result<(), StoreError> {
    let path = path.canonicalize().map_err(StoreError::unavailable)?;
    let links = std::fs::metadata(&path).map_err(StoreError::unavailable)?.nlink();
    let shown = path.display();
    if links > 1 {
        return Err(StoreError::unusable(format!("{shown} has {links} names (hard links); allowed: one")));
    }
    // Absent on other systems than Linux.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if mounts.lines().any(|mount| mount.split(' ').nth(4) == path.to_str()) {
        return Err(StoreError::unusable(format!(
            "{shown} is a mounted file; allowed: a mounted directory that contains it, because SQLite keeps its write-ahead \
             log beside the file"
        )));
    }
    Ok(())
}

fn id(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// A text that differs between a file and its copies, also if a copy takes the file's place.
pub(super) fn place(path: &Path) -> io::Result<String> {
    let file = std::fs::metadata(path)?;
    Ok(format!("{}:{}", file.ino(), created_at(&file)))
}

/// Nanoseconds since the Unix epoch, where the file system keeps the time.
fn created_at(file: &Metadata) -> u128 {
    let created = file.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    created.unwrap_or_default().as_nanos()
}
