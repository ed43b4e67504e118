//! The schema: made and brought up to date by whichever replica comes first.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions, Connection, Executor, Row};

use super::{azurevote, connecting};
use crate::store::StoreError;
use crate::tally::Origin;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/mysql");

/// For how long a replica waits for another one to finish, in seconds.
const LOCK_SECONDS: u32 = 1;

/// The origin that this database has, if its schema is what this release expects.
pub(super) async fn own_origin(connection: &mut MySqlConnection) -> Result<Option<Origin>, sqlx::Error> {
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max();
    let query = sqlx::query(
        "SELECT origin FROM own_origin WHERE id = 1 \
         AND EXISTS (SELECT 1 FROM _sqlx_migrations WHERE version = ? AND success)",
    );
    match query.bind(newest).fetch_optional(connection).await {
        Ok(row) => Ok(row
            .map(|row| row.try_get::<Vec<u8>, _>(0))
            .transpose()?
            .and_then(|origin| Origin::from_slice(&origin))),
        Err(error) if is_missing_table(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the schema or brings it up to date, and gives the database's origin.
///
/// A task of its own does it: taking over a large table of the original takes longer than a request may wait, so it
/// goes on when the request is gone.
pub(super) async fn prepare(options: MySqlConnectOptions) -> Result<Origin, StoreError> {
    let work = async move {
        let mut connection = options.connect().await.map_err(connecting)?;
        lock(&mut connection).await?;
        let origin = migrate(&mut connection).await.map_err(connecting);
        // The end of the connection frees the lock.
        let _ = connection.close().await;
        origin
    };
    tokio::spawn(work).await.unwrap_or_else(|panic| Err(StoreError::unusable(panic)))
}

/// Makes replicas that start at once take turns. (The lock of `Migrator` asks for an endless wait by a negative
/// number, which MariaDB refuses with a warning and no lock.)
async fn lock(connection: &mut MySqlConnection) -> Result<(), StoreError> {
    let query =
        sqlx::query_scalar("SELECT GET_LOCK(CONCAT('voting-schema-', LEFT(SHA2(DATABASE(), 256), 32)), ?)");
    let locked: Option<i64> = query.bind(LOCK_SECONDS).fetch_one(connection).await.map_err(connecting)?;
    if locked == Some(1) {
        Ok(())
    } else {
        Err(StoreError::unavailable("another replica is changing the schema"))
    }
}

async fn migrate(connection: &mut MySqlConnection) -> Result<Origin, sqlx::Error> {
    // Nobody else migrates now, so a migration that is marked as begun was cut off. Each can be run again.
    match connection.execute("DELETE FROM _sqlx_migrations WHERE success = FALSE").await {
        Err(error) if !is_missing_table(&error) => return Err(error),
        _ => {}
    }
    let mut migrations = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    // A release that is rolled back meets the schema of the newer one.
    migrations.set_locking(false).set_ignore_missing(true);
    migrations.run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
        other => sqlx::Error::Configuration(other.into()),
    })?;
    azurevote::take_over(connection).await?;
    // Last, because its row says that all of this is done.
    sqlx::query("INSERT IGNORE INTO own_origin (id, origin) VALUES (1, ?)")
        .bind(Origin::new().as_bytes().as_slice())
        .execute(&mut *connection)
        .await?;
    let made = own_origin(connection).await?;
    made.ok_or_else(|| sqlx::Error::Configuration("the database has no origin of its own".into()))
}

/// `ER_NO_SUCH_TABLE`.
pub(super) fn is_missing_table(error: &sqlx::Error) -> bool {
    super::error_number(error) == Some(1146)
}
