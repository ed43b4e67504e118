//! Tables of another application under the names of ours. They are found before anything is changed.

use std::collections::BTreeMap;

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Executor as _, Row as _, raw_sql};

use super::error::connecting;
use crate::migrations::{Applied, Migrations, are_ours};
use crate::store::StoreError;

/// A table with its columns: their names, types and, if they are in the primary key, `PRI`.
type Table = (&'static str, &'static [(&'static str, &'static str)]);

/// The tables as the first migrations make them.
const TABLES: &[Table] = &[
    ("ballots", &[("id", "binary(16) PRI")]),
    (
        "tallies",
        &[
            ("choice", "varbinary(400) PRI"),
            ("origin", "binary(16) PRI"),
            ("votes", "bigint"),
            ("reset_votes", "bigint"),
        ],
    ),
    ("own_origin", &[("id", "tinyint PRI"), ("origin", "binary(16)")]),
    ("purged", &[("id", "tinyint PRI"), ("up_to", "binary(16)")]),
];

/// The table of azure-vote, and its name since the takeover.
const AZUREVOTE: [&str; 2] = ["azurevote", "azurevote_taken_over"];

/// The columns of the tables that exist, by the names of both.
type Columns = BTreeMap<String, BTreeMap<String, String>>;

/// Rejects a database with tables of another application under our names. Returns whether it has all of ours.
pub(super) async fn check(
    connection: &mut MySqlConnection,
    migrations: &Migrations,
) -> Result<bool, StoreError> {
    let columns = columns(connection).await.map_err(connecting)?;
    let is_migrated = match columns.get("_sqlx_migrations") {
        Some(of_migrations) => {
            let names = ["version", "description", "success", "checksum"];
            if !names.iter().all(|name| of_migrations.contains_key(*name)) {
                return Err(foreign("_sqlx_migrations", &listed(of_migrations)));
            }
            let applied = applied(connection).await.map_err(connecting)?;
            if !are_ours(migrations, &applied) {
                return Err(foreign("_sqlx_migrations", "its migrations are others"));
            }
            applied.iter().any(|migration| migration.is_complete)
        }
        None => false,
    };
    for (table, ours) in TABLES {
        let Some(theirs) = columns.get(*table) else { continue };
        let has_ours = ours.iter().all(|(name, kind)| theirs.get(*name).is_some_and(|their| their == kind));
        // A newer version may have added columns to a table that is known to be ours.
        if !has_ours || theirs.len() > ours.len() && !is_migrated {
            return Err(foreign(table, &listed(theirs)));
        }
    }
    for table in AZUREVOTE {
        let is_text = |kind: &String| kind.contains("char") || kind.contains("text");
        match columns.get(table) {
            Some(theirs) if !theirs.get("votevalue").is_some_and(is_text) => {
                return Err(StoreError::unusable(format!(
                    "the table {table} is not that of azure-vote, which has a column votevalue of text ({}); allowed: a \
                     database of its own, which has no other table of this name",
                    listed(theirs)
                )));
            }
            _ => {}
        }
    }
    if AZUREVOTE.iter().all(|table| columns.contains_key(*table)) {
        let [new, old] = AZUREVOTE;
        return Err(StoreError::unusable(format!(
            "the tables {new} and {old} both exist, and {new} takes the name {old} when it is taken over; allowed: one of \
             the two"
        )));
    }
    Ok(TABLES.iter().all(|(table, _)| columns.contains_key(*table)))
}

fn foreign(table: &str, difference: &str) -> StoreError {
    StoreError::unusable(format!(
        "the table {table} is of another application ({difference}); allowed: an empty database of its own"
    ))
}

fn listed(columns: &BTreeMap<String, String>) -> String {
    const MOST: usize = 6;
    let shown: Vec<_> = columns.iter().take(MOST).map(|(name, kind)| format!("{name} {kind}")).collect();
    let more = if columns.len() > MOST { ", …" } else { "" };
    format!("its columns are {}{more}", shown.join(", "))
}

async fn columns(connection: &mut MySqlConnection) -> Result<Columns, sqlx::Error> {
    let names = TABLES.iter().map(|(table, _)| *table).chain(AZUREVOTE).chain(["_sqlx_migrations"]);
    let names: Vec<_> = names.map(|name| format!("'{name}'")).collect();
    let query = format!(
        "SELECT table_name, column_name, column_type, column_key FROM information_schema.columns \
         WHERE table_schema = DATABASE() AND table_name IN ({})",
        names.join(", ")
    );
    let mut columns = Columns::new();
    for row in &connection.fetch_all(raw_sql(AssertSqlSafe(query))).await? {
        let (table, name) = (text(row, 0)?, text(row, 1)?);
        columns.entry(table).or_default().insert(name.to_lowercase(), kind(&text(row, 2)?, &text(row, 3)?));
    }
    Ok(columns)
}

/// The type of a column as in [`TABLES`]. Not every server shows the width of a number.
fn kind(kind: &str, key: &str) -> String {
    let kind = kind.to_lowercase();
    let kind = match kind.split_once("int(") {
        Some((size, rest)) => {
            format!("{size}int{}", rest.split_once(')').map_or("", |(_, attributes)| attributes))
        }
        None => kind,
    };
    if key == "PRI" { format!("{kind} PRI") } else { kind }
}

/// The names and types are of a type that differs between servers.
fn text(row: &MySqlRow, column: usize) -> Result<String, sqlx::Error> {
    row.try_get_unchecked::<Vec<u8>, _>(column).map(|text| String::from_utf8_lossy(&text).into_owned())
}

async fn applied(connection: &mut MySqlConnection) -> Result<Vec<Applied>, sqlx::Error> {
    let rows =
        connection.fetch_all(raw_sql("SELECT version, checksum, success FROM _sqlx_migrations")).await?;
    rows.iter()
        .map(|row| {
            Ok(Applied {
                version: row.try_get_unchecked(0)?,
                checksum: row.try_get_unchecked(1)?,
                is_complete: row.try_get_unchecked(2)?,
            })
        })
        .collect()
}
