//! Schema migrations, embedded in the binary.
//!
//! Built at run time rather than by sqlx's macro, which would compile sqlx and its drivers a second time for the
//! compiler's use.

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::store::StoreError;

/// The migrations of a store, oldest first: the description and the SQL of each. Versions count from 1.
pub(crate) type Migrations = [(&'static str, &'static str)];

/// A migrator that takes no lock of its own and accepts the schema of a newer release.
pub(crate) fn migrator(migrations: &Migrations) -> Migrator {
    let list = (1..).zip(migrations).map(|(version, &(description, sql))| {
        Migration::new(version, description.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    });
    let mut migrator = Migrator::with_migrations(list.collect());
    migrator.set_locking(false).set_ignore_missing(true);
    migrator
}

/// A migration that a database has.
pub(crate) struct Applied {
    pub(crate) version: i64,
    pub(crate) checksum: Vec<u8>,
    #[cfg_attr(not(feature = "mysql"), expect(dead_code, reason = "migrations of SQLite are never halfway"))]
    pub(crate) is_complete: bool,
}

/// Whether these are ours, and perhaps those of a newer release: other applications may keep theirs in a table of the same name.
pub(crate) fn are_ours(migrations: &Migrations, applied: &[Applied]) -> bool {
    let has_first = applied.is_empty() || applied.iter().any(|migration| migration.version == 1);
    let ours = migrator(migrations);
    has_first
        && ours.iter().all(|ours| {
            let same = applied.iter().filter(|migration| migration.version == ours.version);
            same.into_iter().all(|migration| migration.checksum == *ours.checksum)
        })
}

/// The version of the newest migration.
pub(crate) fn newest(migrations: &Migrations) -> i64 {
    i64::try_from(migrations.len()).unwrap_or(i64::MAX)
}

/// The error of a store that must exist and has no schema of this version.
pub(crate) fn not_ready(cause: &str) -> StoreError {
    StoreError::unusable(format!(
        "{cause}; allowed: a store that `voting-storage migrate` or a service has made ready"
    ))
}
