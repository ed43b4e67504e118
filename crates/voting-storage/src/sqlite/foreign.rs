//! Files of another application. They are found before anything is changed.

use std::io::Read as _;
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, query};

use super::{MIGRATIONS, connecting};
use crate::migrations::{Applied, are_ours};
use crate::store::StoreError;

/// Rejects the file of another application. Opening it otherwise would give it a write-ahead log, as each of ours has.
pub(super) async fn check_file(path: &Path, read_only: &SqliteConnectOptions) -> Result<(), StoreError> {
    if !is_without_log(path) {
        return Ok(());
    }
    let mut connection = read_only.connect().await.map_err(connecting)?;
    let checked = check(&mut connection).await;
    // It is closed in any case.
    let _ = connection.close().await;
    checked
}

/// Whether this is a database whose head says that it has no write-ahead log.
fn is_without_log(path: &Path) -> bool {
    const START: &[u8] = b"SQLite format 3\0";
    let mut head = [0; 20];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head.starts_with(START) && head[18] == 1
}

/// Rejects a database of another application.
pub(super) async fn check(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let names = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite!_%' ESCAPE '!' \
                 ORDER BY name = '_sqlx_migrations' LIMIT 1";
    let Some(name) = query(names).fetch_optional(&mut *connection).await.map_err(connecting)? else {
        return Ok(());
    };
    let name: String = name.try_get(0).map_err(connecting)?;
    let rows = query("SELECT version, checksum FROM _sqlx_migrations").fetch_all(&mut *connection).await.ok();
    let applied: Option<Vec<_>> = rows.and_then(|rows| {
        let applied = rows.iter().map(|row| {
            Some(Applied { version: row.try_get(0).ok()?, checksum: row.try_get(1).ok()?, is_complete: true })
        });
        applied.collect()
    });
    match applied {
        // Either all of our migrations took effect together, or none.
        Some(applied) if !applied.is_empty() && are_ours(MIGRATIONS, &applied) => Ok(()),
        _ => Err(StoreError::unusable(format!(
            "the file is of another application (it has the table {name}); allowed: a file of its own, which may be absent"
        ))),
    }
}
