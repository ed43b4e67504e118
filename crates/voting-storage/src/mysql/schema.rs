//! The schema, created and updated by the first replica to connect.

use sqlx::migrate::MigrateError;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, Connection, Executor, Row, raw_sql};
use voting_core::tally::Origin;

use super::connect::connect;
use super::error::{connecting, is_missing_column, is_missing_table};
use super::{azurevote, foreign, session};
use crate::migrations::{Migrations, migrator, newest};
use crate::store::StoreError;

const MIGRATIONS: &Migrations = &[
    ("create", include_str!("../../migrations/mysql/0001_create.sql")),
    ("purged", include_str!("../../migrations/mysql/0002_purged.sql")),
    ("purged row", include_str!("../../migrations/mysql/0003_purged_row.sql")),
];

/// How long a replica waits for another one to finish, in seconds.
const LOCK_SECONDS: u32 = 1;

/// The origin of the database, if its schema is up to date.
pub(super) async fn own_origin(connection: &mut MySqlConnection) -> Result<Option<Origin>, sqlx::Error> {
    let query = sqlx::query(
        "SELECT origin FROM own_origin WHERE id = 1 \
         AND EXISTS (SELECT 1 FROM _sqlx_migrations WHERE version = ? AND success)",
    );
    match query.bind(newest(MIGRATIONS)).fetch_optional(connection).await {
        Ok(row) => Ok(row
            .map(|row| row.try_get::<Vec<u8>, _>(0))
            .transpose()?
            .and_then(|origin| Origin::from_slice(&origin))),
        // A table of another application may have our name.
        Err(error) if is_missing_table(&error) || is_missing_column(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates or updates the schema and returns the database's origin.
///
/// Runs as a task of its own: taking over a large table of azure-vote takes longer than a request may wait, so the work
/// continues after the request has timed out.
pub(super) async fn prepare(options: MySqlConnectOptions) -> Result<Origin, StoreError> {
    let work = async move {
        let mut connection = connect(&options).await.map_err(connecting)?;
        session::configure(&mut connection).await.map_err(connecting)?;
        lock(&mut connection).await?;
        let has_tables = foreign::check(&mut connection, MIGRATIONS).await?;
        let origin = migrate(&mut connection, has_tables).await.map_err(connecting);
        // Closing the connection releases the lock.
        let _ = connection.close().await;
        origin
    };
    tokio::spawn(work).await.unwrap_or_else(|panic| Err(StoreError::unusable(panic)))
}

/// Rejects tables without transactions: with them, a batch that contains a known ballot would lose its new ones.
pub(super) async fn check_engines(connection: &mut MySqlConnection) -> Result<(), StoreError> {
    let query = sqlx::query(
        "SELECT CONCAT(table_name, ' (', engine, ')') FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name IN ('ballots', 'tallies', 'own_origin') \
         AND engine IN ('MyISAM', 'Aria', 'MEMORY', 'CSV', 'ARCHIVE', 'BLACKHOLE', 'MRG_MyISAM')",
    );
    let tables = query.fetch_all(connection).await.map_err(connecting)?;
    let names: Result<Vec<String>, _> = tables.iter().map(|row| row.try_get(0)).collect();
    let names = names.map_err(connecting)?;
    if names.is_empty() {
        return Ok(());
    }
    Err(StoreError::unusable(format!(
        "tables on an engine without transactions: {}; allowed: InnoDB (ALTER TABLE NAME ENGINE = InnoDB)",
        names.join(", ")
    )))
}

/// Serializes replicas that start at the same time. (`Migrator`'s own lock waits without end by a negative timeout, which
/// MariaDB rejects with a warning and no lock.)
async fn lock(connection: &mut MySqlConnection) -> Result<(), StoreError> {
    let query =
        sqlx::query_scalar("SELECT GET_LOCK(CONCAT('voting-schema-', LEFT(SHA2(DATABASE(), 256), 32)), ?)");
    let refused = |cause: String| {
        StoreError::unusable(format!(
            "GET_LOCK, by which replicas take turns to create the schema, is refused: {cause}; allowed: a user and a server \
             that can use GET_LOCK, or a schema that exists (`voting-storage migrate` with a direct connection)"
        ))
    };
    match query.bind(LOCK_SECONDS).fetch_one(connection).await {
        Ok(Some(1)) => Ok(()),
        Ok(Some(_)) => Err(StoreError::unavailable("another replica is updating the schema")),
        Ok(None::<i64>) => Err(refused("the answer is NULL".to_owned())),
        Err(error) => match connecting(error) {
            StoreError::Unusable(cause) => Err(refused(cause.to_string())),
            error => Err(error),
        },
    }
}

async fn migrate(connection: &mut MySqlConnection, has_tables: bool) -> Result<Origin, sqlx::Error> {
    // This replica has the lock, so an unfinished migration was interrupted. Each one can be repeated, and is where a table
    // is missing.
    let repeated = if has_tables { " WHERE success = FALSE" } else { "" };
    let forget = AssertSqlSafe(format!("DELETE FROM _sqlx_migrations{repeated}"));
    match connection.execute(raw_sql(forget)).await {
        Err(error) if !is_missing_table(&error) => return Err(error),
        _ => {}
    }
    migrator(MIGRATIONS).run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
        other => sqlx::Error::Configuration(other.into()),
    })?;
    azurevote::take_over(connection).await?;
    // Last, because its row marks the schema as complete.
    sqlx::query("INSERT IGNORE INTO own_origin (id, origin) VALUES (1, ?)")
        .bind(Origin::new().as_bytes().as_slice())
        .execute(&mut *connection)
        .await?;
    let origin = own_origin(connection).await?;
    origin.ok_or_else(|| sqlx::Error::Configuration("the database has no origin of its own".into()))
}
