//! Votes in a file: the embedded store, for one machine.
//!
//! The schema is MySQL's. Several processes may open the file at once; a commit waits for the disk
//! (`synchronous=FULL`).

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, query};
use tokio::time::Instant;

use crate::ballot::{Ballot, BallotId, Cast};
use crate::grouped;
use crate::poll::{Category, Choices};
use crate::store::{Limits, StoreError, StoreKind};
use crate::tally::{Counter, Origin, Snapshot, Tally};
use crate::url::StoreUrl;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The file, and the poll in it.
pub(crate) struct Backend {
    options: SqliteConnectOptions,
    choices: Choices,
}

impl Backend {
    pub(crate) fn new(url: &StoreUrl, choices: &Choices, limits: Limits) -> Result<Self, StoreError> {
        let options: SqliteConnectOptions = url.expose().parse().map_err(StoreError::unusable)?;
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(limits.connect)
            .disable_statement_logging();
        Ok(Self { options, choices: choices.clone() })
    }
}

#[async_trait]
impl grouped::Backend for Backend {
    type Session = Session;

    const KIND: StoreKind = StoreKind::Sqlite;
    // A database has one writer.
    const CASTERS: u8 = 1;

    async fn connect(&self) -> Result<Session, StoreError> {
        let mut connection = self.options.connect().await.map_err(connecting)?;
        let origin = match own_origin(&mut connection).await {
            Some(origin) => origin,
            None => prepare(&mut connection).await?,
        };
        Ok(Session { connection, origin, choices: self.choices.clone() })
    }
}

/// The origin that this file has, if its schema is what this release expects. Takes no lock that a writer holds.
async fn own_origin(connection: &mut SqliteConnection) -> Option<Origin> {
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max();
    let own = query(
        "SELECT origin FROM own_origin WHERE id = 1 \
         AND EXISTS (SELECT 1 FROM _sqlx_migrations WHERE version = ? AND success)",
    );
    // An error is most likely a table that is not there; `prepare` meets any other one again.
    let row = own.bind(newest).fetch_optional(connection).await.ok().flatten()?;
    origin(&row, 0).ok()
}

/// Makes the schema or brings it up to date; processes that start at once take turns by the file's write lock.
async fn prepare(connection: &mut SqliteConnection) -> Result<Origin, StoreError> {
    let mut migrations = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    migrations.set_ignore_missing(true);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(connecting)?;
    migrations.run_direct(None, &mut *transaction, false).await.map_err(StoreError::unusable)?;
    let own = query("INSERT INTO own_origin (id, origin) VALUES (1, ?) ON CONFLICT (id) DO NOTHING");
    own.bind(Origin::new().as_bytes().as_slice()).execute(&mut *transaction).await.map_err(connecting)?;
    let own = own_origin(&mut transaction).await;
    transaction.commit().await.map_err(connecting)?;
    own.ok_or_else(|| StoreError::unusable("the file has no origin of its own"))
}

/// One connection to a file whose schema is ready.
pub(crate) struct Session {
    connection: SqliteConnection,
    origin: Origin,
    choices: Choices,
}

impl Session {
    fn name(&self, category: Category) -> &str {
        self.choices.name(category).as_str()
    }
}

#[async_trait]
impl grouped::Session for Session {
    async fn cast(&mut self, ballots: &[Ballot], _until: Instant) -> Result<Vec<Cast>, StoreError> {
        let names = Category::ALL.map(|category| self.name(category).to_owned());
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await.map_err(answering)?;

        let places = vec!["(?)"; ballots.len()].join(",");
        let insert =
            format!("INSERT INTO ballots (id) VALUES {places} ON CONFLICT (id) DO NOTHING RETURNING id");
        // Not kept as a prepared statement: its text varies with the size of the group.
        let mut insert = query(AssertSqlSafe(insert)).persistent(false);
        for ballot in ballots {
            insert = insert.bind(ballot.id.as_bytes().as_slice());
        }
        let rows = insert.fetch_all(&mut *transaction).await.map_err(answering)?;
        let new: HashSet<Vec<u8>> =
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(answering)?;
        let is_new = |ballot: &Ballot| new.contains(ballot.id.as_bytes().as_slice());

        for category in Category::ALL {
            let votes = ballots.iter().filter(|ballot| ballot.category == category && is_new(ballot)).count();
            if votes > 0 {
                let count = query(
                    "INSERT INTO tallies (choice, origin, votes, reset_votes) VALUES (?, ?, ?, 0) \
                     ON CONFLICT (choice, origin) DO UPDATE SET votes = votes + excluded.votes",
                );
                count
                    .bind(names[category.index()].as_str())
                    .bind(self.origin.as_bytes().as_slice())
                    .bind(i64::try_from(votes).unwrap_or(i64::MAX))
                    .execute(&mut *transaction)
                    .await
                    .map_err(answering)?;
            }
        }
        transaction.commit().await.map_err(committing)?;
        let cast = |new| if new { Cast::Counted } else { Cast::AlreadyCounted };
        Ok(ballots.iter().map(|ballot| cast(is_new(ballot))).collect())
    }

    async fn is_alive(&mut self) -> bool {
        true
    }

    async fn tally(&mut self) -> Result<Tally, StoreError> {
        let count = query(
            "SELECT (SELECT COALESCE(SUM(votes - reset_votes), 0) FROM tallies WHERE choice = ?), \
                    (SELECT COALESCE(SUM(votes - reset_votes), 0) FROM tallies WHERE choice = ?)",
        );
        let row = count
            .bind(self.choices.name(Category::First).as_str())
            .bind(self.choices.name(Category::Second).as_str())
            .fetch_one(&mut self.connection)
            .await
            .map_err(answering)?;
        Ok(Tally::new(number(&row, 0)?, number(&row, 1)?))
    }

    async fn reset(&mut self) -> Result<(), StoreError> {
        query("UPDATE tallies SET reset_votes = votes WHERE choice IN (?, ?)")
            .bind(self.choices.name(Category::First).as_str())
            .bind(self.choices.name(Category::Second).as_str())
            .execute(&mut self.connection)
            .await
            .map_err(committing)?;
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Snapshot, StoreError> {
        let rows = query("SELECT choice, origin, votes, reset_votes FROM tallies WHERE choice IN (?, ?)")
            .bind(self.choices.name(Category::First).as_str())
            .bind(self.choices.name(Category::Second).as_str())
            .fetch_all(&mut self.connection)
            .await
            .map_err(answering)?;
        let mut snapshot = Snapshot::default();
        for row in &rows {
            let name: String = row.try_get(0).map_err(answering)?;
            if let Some(category) = self.choices.find(&name) {
                let counter = Counter { votes: number(row, 2)?, reset: number(row, 3)? };
                snapshot.insert(category, origin(row, 1)?, counter);
            }
        }
        Ok(snapshot)
    }

    async fn merge(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await.map_err(answering)?;
        for category in Category::ALL {
            for (origin, counter) in snapshot.counters(category) {
                let merge = query(
                    "INSERT INTO tallies (choice, origin, votes, reset_votes) VALUES (?, ?, ?, ?) \
                     ON CONFLICT (choice, origin) DO UPDATE SET votes = MAX(votes, excluded.votes), \
                     reset_votes = MAX(reset_votes, excluded.reset_votes)",
                );
                merge
                    .bind(self.choices.name(category).as_str())
                    .bind(origin.as_bytes().as_slice())
                    .bind(i64::try_from(counter.votes).unwrap_or(i64::MAX))
                    .bind(i64::try_from(counter.reset).unwrap_or(i64::MAX))
                    .execute(&mut *transaction)
                    .await
                    .map_err(answering)?;
            }
        }
        transaction.commit().await.map_err(committing)
    }

    async fn forget(&mut self, made_before: Duration) -> Result<bool, StoreError> {
        const AT_ONCE: u64 = 2000;
        let delete = query(
            "DELETE FROM ballots WHERE id IN (SELECT id FROM ballots WHERE id < ? ORDER BY id LIMIT 2000)",
        );
        let first_kept = BallotId::first_of(made_before);
        let done =
            delete.bind(first_kept.as_slice()).execute(&mut self.connection).await.map_err(answering)?;
        Ok(done.rows_affected() == AT_ONCE)
    }
}

fn number(row: &SqliteRow, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column).map_err(answering)?;
    Ok(u64::try_from(number).unwrap_or_default())
}

fn origin(row: &SqliteRow, column: usize) -> Result<Origin, StoreError> {
    let bytes: Vec<u8> = row.try_get(column).map_err(answering)?;
    Origin::from_slice(&bytes).ok_or_else(|| StoreError::unusable("an origin is not ours"))
}

/// What an error means before anything was asked.
fn connecting(error: sqlx::Error) -> StoreError {
    StoreError::unavailable(error)
}

/// What an error means before the commit.
fn answering(error: sqlx::Error) -> StoreError {
    match &error {
        // The worker thread of the connection is gone.
        sqlx::Error::WorkerCrashed => StoreError::unavailable(error),
        // Busy, a full disk, an I/O error: the transaction is rolled back.
        sqlx::Error::Database(_) => StoreError::unavailable(error),
        _ => StoreError::unusable(error),
    }
}

/// What an error means as the answer to a commit.
fn committing(error: sqlx::Error) -> StoreError {
    StoreError::unconfirmed(error)
}
