//! Votes in a file: the embedded store, for one machine.
//!
//! The schema is that of MySQL. Several processes may open the file at once; a commit waits for the disk
//! (`synchronous=FULL`).

mod connections;
mod file;
mod foreign;

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, Sqlite, Transaction, query};
use tokio::time::Instant;
use voting_core::tally::{Counter, Origin};
use voting_core::{Ballot, BallotId, Cast, Choice, Choices, Snapshot, StoreKind, Tally};

use self::connections::TrackedConnection;
use self::file::{OpenFile, check_single_name, place};
use crate::backend::{self, Found, PurgeTimes};
use crate::migrations::{Migrations, migrator, newest, not_ready};
use crate::store::{Finding, OtherVotes, StoreError, Timeouts};
use crate::url::StoreAddress;

const MIGRATIONS: &Migrations = &[
    ("create", include_str!("../migrations/sqlite/0001_create.sql")),
    ("purged", include_str!("../migrations/sqlite/0002_purged.sql")),
];

/// The file, and the poll in it.
pub(crate) struct Backend {
    options: SqliteConnectOptions,
    /// Of a connection that can't change the file.
    read_only: SqliteConnectOptions,
    choices: Choices,
    must_exist: bool,
}

impl Backend {
    pub(crate) fn new(
        address: &StoreAddress,
        choices: &Choices,
        timeouts: Timeouts,
    ) -> Result<Self, StoreError> {
        let options: SqliteConnectOptions = address.expose().parse().map_err(StoreError::unusable)?;
        let options = options.busy_timeout(timeouts.connect).disable_statement_logging();
        let read_only = options.clone().create_if_missing(false).read_only(true);
        let options = options
            .create_if_missing(!address.must_exist())
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        Ok(Self { options, read_only, choices: choices.clone(), must_exist: address.must_exist() })
    }
}

#[async_trait]
impl backend::Backend for Backend {
    type Session = Session;

    const KIND: StoreKind = StoreKind::Sqlite;
    // A database has one writer.
    const CAST_CONNECTIONS: u8 = 1;
    const PARALLEL_BELOW: usize = 1;

    async fn connect(&self) -> Result<Session, StoreError> {
        let path = self.options.get_filename();
        let mut before = OpenFile::at(path);
        if before.exists() {
            check_single_name(path)?;
            foreign::check_file(path, &self.read_only).await?;
        } else if self.must_exist {
            return Err(not_ready("there is no such file"));
        }
        let connection = connections::open(&self.options).await.map_err(connecting)?;
        let identity = {
            let mut connection = connection.get().await?;
            match own_origin(&mut connection).await {
                Some(identity) => identity,
                None if self.must_exist => return Err(not_ready("the file has no votes of this version")),
                None => prepare(&mut connection).await?,
            }
        };
        if before.exists() {
            before.check()?;
        }
        let file = OpenFile::at(path);
        let origin = identity.at(&place(path).map_err(StoreError::unavailable)?);
        Ok(Session { connection, file, identity, origin, choices: self.choices.clone() })
    }
}

/// The origin of the file, if its schema is up to date. Takes no lock that a writer holds.
async fn own_origin(connection: &mut SqliteConnection) -> Option<Origin> {
    let own = query(
        "SELECT origin FROM own_origin WHERE id = 1 \
         AND EXISTS (SELECT 1 FROM _sqlx_migrations WHERE version = ? AND success)",
    );
    // An error most likely means a missing table; `prepare` meets any other one again.
    let row = own.bind(newest(MIGRATIONS)).fetch_optional(connection).await.ok().flatten()?;
    origin(&row, 0).ok()
}

/// Creates or updates the schema. The file's write lock serializes processes that start at the same time.
async fn prepare(connection: &mut SqliteConnection) -> Result<Origin, StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(connecting)?;
    foreign::check(&mut transaction).await?;
    migrator(MIGRATIONS).run_direct(None, &mut *transaction, false).await.map_err(StoreError::unusable)?;
    let own = query("INSERT INTO own_origin (id, origin) VALUES (1, ?) ON CONFLICT (id) DO NOTHING");
    own.bind(Origin::new().as_bytes().as_slice()).execute(&mut *transaction).await.map_err(connecting)?;
    let own = own_origin(&mut transaction).await;
    transaction.commit().await.map_err(connecting)?;
    own.ok_or_else(|| StoreError::unusable("the file has no origin of its own"))
}

/// One connection to a file whose schema is ready.
pub(crate) struct Session {
    connection: TrackedConnection,
    file: OpenFile,
    identity: Origin,
    /// The origin of the votes that are cast in this copy of the file.
    origin: Origin,
    choices: Choices,
}

impl Session {
    fn name(&self, choice: Choice) -> &str {
        self.choices.name(choice).as_str()
    }

    /// Counts ballots, and rolls it back unless it is final.
    async fn count(&mut self, ballots: &[Ballot], is_final: bool) -> Result<Vec<Cast>, StoreError> {
        let names = Choice::ALL.map(|choice| self.name(choice).to_owned());
        let mut connection = self.connection.get().await?;
        let mut transaction = self.begin(&mut connection).await?;
        let unchanged = unchanged(&mut transaction, ballots).await.map_err(answering)?;
        let is_new = ballots.iter().zip(&unchanged).filter(|(_, cast)| cast.is_none());
        let new: Vec<_> = is_new.map(|(ballot, _)| ballot).collect();
        if !new.is_empty() {
            let places = vec!["(?)"; new.len()].join(",");
            // Not kept as a prepared statement: its text varies with the size of the batch.
            let mut insert =
                query(AssertSqlSafe(format!("INSERT INTO ballots (id) VALUES {places}"))).persistent(false);
            for ballot in &new {
                insert = insert.bind(ballot.id.as_bytes().as_slice());
            }
            insert.execute(&mut *transaction).await.map_err(answering)?;
        }

        for choice in Choice::ALL {
            let votes = new.iter().filter(|ballot| ballot.choice == choice).count();
            if votes > 0 {
                let count = query(
                    "INSERT INTO tallies (choice, origin, votes, reset_votes) VALUES (?, ?, ?, 0) \
                     ON CONFLICT (choice, origin) DO UPDATE SET votes = votes + excluded.votes \
                     WHERE votes + excluded.votes <= ?",
                );
                let count = count
                    .bind(names[choice.index()].as_str())
                    .bind(self.origin.as_bytes().as_slice())
                    .bind(i64::try_from(votes).unwrap_or(i64::MAX))
                    .bind(i64::try_from(Counter::MAX_VOTES).unwrap_or(i64::MAX))
                    .execute(&mut *transaction)
                    .await
                    .map_err(answering)?;
                if count.rows_affected() == 0 {
                    return Err(StoreError::full_counter());
                }
            }
        }
        self.file.check()?;
        if !is_final {
            transaction.rollback().await.map_err(answering)?;
            return Ok(Vec::new());
        }
        transaction.commit().await.map_err(committing)?;
        // Not acknowledged, because it is unknown which file has the ballots.
        self.file.check().map_err(StoreError::unconfirmed)?;
        Ok(unchanged.into_iter().map(|cast| cast.unwrap_or(Cast::Counted)).collect())
    }

    /// Begins a transaction that writes.
    async fn begin<'c>(
        &self,
        connection: &'c mut SqliteConnection,
    ) -> Result<Transaction<'c, Sqlite>, StoreError> {
        connection.begin_with("BEGIN IMMEDIATE").await.map_err(|error| {
            if is_read_only(&error) {
                self.connection.set_read_only();
            }
            answering(error)
        })
    }
}

#[async_trait]
impl backend::Session for Session {
    async fn cast(&mut self, ballots: &[Ballot], _until: Instant) -> Result<Vec<Cast>, StoreError> {
        self.count(ballots, true).await
    }

    async fn probe(&mut self, ballots: &[Ballot], _until: Instant) -> Result<(), StoreError> {
        self.count(ballots, false).await.map(drop)
    }

    async fn find(&mut self, ballots: &[Ballot]) -> Result<Found, StoreError> {
        self.file.check()?;
        let casts = unchanged(&mut *self.connection.get().await?, ballots).await.map_err(answering)?;
        Ok(Found { casts, is_current: true })
    }

    async fn inspect(&mut self) -> Result<Vec<Finding>, StoreError> {
        // The file has no clock of its own, but ballots of other processes tell theirs.
        let newest = newest_id(&mut *self.connection.get().await?).await.map_err(answering)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let newest = newest.as_ref().map(BallotId::time_of).filter(|newest| *newest > now);
        let clock =
            newest.and_then(|newest| Finding::of_clock("the clock of a process that cast ballots", newest));
        Ok(clock.into_iter().collect())
    }

    async fn is_alive(&mut self) -> bool {
        // Also notices an origin that was renewed meanwhile.
        let Ok(mut connection) = self.connection.get().await else { return false };
        self.file.check().is_ok() && own_origin(&mut connection).await == Some(self.identity)
    }

    async fn tally(&mut self) -> Result<Tally, StoreError> {
        self.file.check()?;
        let count = query(
            "SELECT (SELECT COALESCE(SUM(votes - reset_votes), 0) FROM tallies WHERE choice = ?), \
                    (SELECT COALESCE(SUM(votes - reset_votes), 0) FROM tallies WHERE choice = ?)",
        );
        let row = count
            .bind(self.choices.name(Choice::First).as_str())
            .bind(self.choices.name(Choice::Second).as_str())
            .fetch_one(&mut *self.connection.get().await?)
            .await
            .map_err(answering)?;
        Ok(Tally::new(number(&row, 0)?, number(&row, 1)?))
    }

    async fn other_votes(&mut self) -> Result<OtherVotes, StoreError> {
        self.file.check()?;
        let others = query(
            "SELECT choice, SUM(votes - reset_votes) FROM tallies WHERE choice NOT IN (?, ?) \
             GROUP BY choice HAVING SUM(votes - reset_votes) > 0",
        );
        let rows = others
            .bind(self.choices.name(Choice::First).as_str())
            .bind(self.choices.name(Choice::Second).as_str())
            .fetch_all(&mut *self.connection.get().await?)
            .await
            .map_err(answering)?;
        let mut votes = OtherVotes::default();
        for row in &rows {
            votes.0.insert(row.try_get(0).map_err(answering)?, number(row, 1)?);
        }
        Ok(votes)
    }

    async fn reset(&mut self, _until: Instant) -> Result<(), StoreError> {
        let mut connection = self.connection.get().await?;
        let mut transaction = self.begin(&mut connection).await?;
        query("UPDATE tallies SET votes = CAST(votes AS INTEGER), reset_votes = CAST(votes AS INTEGER) WHERE choice IN (?, ?)")
            .bind(self.choices.name(Choice::First).as_str())
            .bind(self.choices.name(Choice::Second).as_str())
            .execute(&mut *transaction)
            .await
            .map_err(answering)?;
        // Counters keep their votes. One that is full would refuse each further vote, so later votes get another origin.
        query("UPDATE own_origin SET origin = ? WHERE id = 1 AND EXISTS (SELECT 1 FROM tallies WHERE votes > ?)")
            .bind(Origin::new().as_bytes().as_slice())
            .bind(i64::try_from(Counter::MAX_VOTES / 2).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await
            .map_err(answering)?;
        self.file.check()?;
        transaction.commit().await.map_err(committing)?;
        self.file.check().map_err(StoreError::unconfirmed)
    }

    async fn identity(&mut self) -> Result<Option<Origin>, StoreError> {
        Ok(Some(self.identity))
    }

    async fn origin(&mut self) -> Result<Option<Origin>, StoreError> {
        Ok(Some(self.origin))
    }

    async fn renew_origin(&mut self) -> Result<(), StoreError> {
        let mut connection = self.connection.get().await?;
        let mut transaction = self.begin(&mut connection).await?;
        query("UPDATE own_origin SET origin = ? WHERE id = 1")
            .bind(Origin::new().as_bytes().as_slice())
            .execute(&mut *transaction)
            .await
            .map_err(answering)?;
        self.file.check()?;
        transaction.commit().await.map_err(committing)?;
        self.file.check().map_err(StoreError::unconfirmed)
    }

    async fn snapshot(&mut self) -> Result<Snapshot, StoreError> {
        self.file.check()?;
        let rows = query("SELECT choice, origin, votes, reset_votes FROM tallies WHERE choice IN (?, ?)")
            .bind(self.choices.name(Choice::First).as_str())
            .bind(self.choices.name(Choice::Second).as_str())
            .fetch_all(&mut *self.connection.get().await?)
            .await
            .map_err(answering)?;
        let mut snapshot = Snapshot::default();
        for row in &rows {
            let name: String = row.try_get(0).map_err(answering)?;
            if let Some(choice) = self.choices.find(&name) {
                let counter = Counter { votes: number(row, 2)?, reset_votes: number(row, 3)? };
                snapshot.merge_counter(choice, origin(row, 1)?, counter);
            }
        }
        Ok(snapshot)
    }

    async fn merge(&mut self, snapshot: &Snapshot, _until: Instant) -> Result<(), StoreError> {
        let mut connection = self.connection.get().await?;
        let mut transaction = self.begin(&mut connection).await?;
        for choice in Choice::ALL {
            for (origin, counter) in snapshot.counters(choice) {
                let merge = query(
                    "INSERT INTO tallies (choice, origin, votes, reset_votes) VALUES (?, ?, ?, ?) \
                     ON CONFLICT (choice, origin) DO UPDATE SET votes = MAX(votes, excluded.votes), \
                     reset_votes = MAX(reset_votes, excluded.reset_votes)",
                );
                merge
                    .bind(self.choices.name(choice).as_str())
                    .bind(origin.as_bytes().as_slice())
                    .bind(i64::try_from(counter.votes).unwrap_or(i64::MAX))
                    .bind(i64::try_from(counter.reset_votes).unwrap_or(i64::MAX))
                    .execute(&mut *transaction)
                    .await
                    .map_err(answering)?;
            }
        }
        self.file.check()?;
        transaction.commit().await.map_err(committing)?;
        self.file.check().map_err(StoreError::unconfirmed)
    }

    async fn purge_times(&mut self) -> Result<PurgeTimes, StoreError> {
        let newest = newest_id(&mut *self.connection.get().await?).await.map_err(answering)?;
        Ok(PurgeTimes { server: None, newest_ballot: newest.as_ref().map(BallotId::time_of) })
    }

    async fn purge_expired(&mut self, created_before: Duration) -> Result<bool, StoreError> {
        const LIMIT: u64 = 2000;
        let first_kept = BallotId::min_id_at(created_before);
        let mut connection = self.connection.get().await?;
        let mut transaction = self.begin(&mut connection).await?;
        let oldest = format!("WHERE id IN (SELECT id FROM ballots WHERE id < ? ORDER BY id LIMIT {LIMIT})");
        let oldest = query(AssertSqlSafe(format!("DELETE FROM ballots {oldest} RETURNING id")));
        let deleted =
            oldest.bind(first_kept.as_slice()).fetch_all(&mut *transaction).await.map_err(answering)?;
        let ids: Result<Vec<Vec<u8>>, _> = deleted.iter().map(|row| row.try_get(0)).collect();
        if let Some(last) = ids.map_err(answering)?.into_iter().max() {
            // Not by time: after a clock was wrong, newer ballots still count.
            let purged = query("UPDATE purged SET up_to = MAX(up_to, ?) WHERE id = 1");
            purged.bind(last).execute(&mut *transaction).await.map_err(answering)?;
        }
        transaction.commit().await.map_err(committing)?;
        Ok(u64::try_from(deleted.len()).unwrap_or_default() == LIMIT)
    }
}

/// Returns what casting each ballot again would return; `None`: it is not in the store.
async fn unchanged(
    connection: &mut SqliteConnection,
    ballots: &[Ballot],
) -> Result<Vec<Option<Cast>>, sqlx::Error> {
    let places = vec!["?"; ballots.len()].join(",");
    let find = format!("SELECT id FROM ballots WHERE id IN ({places})");
    let mut find = query(AssertSqlSafe(find)).persistent(false);
    for ballot in ballots {
        find = find.bind(ballot.id.as_bytes().as_slice());
    }
    let rows = find.fetch_all(&mut *connection).await?;
    let known: HashSet<Vec<u8>> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let purged = query("SELECT up_to FROM purged WHERE id = 1").fetch_one(connection).await?;
    let purged: Vec<u8> = purged.try_get(0)?;
    let find = |ballot: &Ballot| match ballot.id.as_bytes().as_slice() {
        id if known.contains(id) => Some(Cast::AlreadyCounted),
        id if id <= purged.as_slice() => Some(Cast::Expired),
        _ => None,
    };
    Ok(ballots.iter().map(find).collect())
}

/// The newest id.
async fn newest_id(connection: &mut SqliteConnection) -> Result<Option<[u8; 16]>, sqlx::Error> {
    let row = query("SELECT MAX(id) FROM ballots").fetch_one(connection).await?;
    let id: Option<Vec<u8>> = row.try_get(0)?;
    Ok(id.and_then(|id| id.try_into().ok()))
}

fn number(row: &SqliteRow, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column).map_err(answering)?;
    Ok(u64::try_from(number).unwrap_or_default())
}

fn origin(row: &SqliteRow, column: usize) -> Result<Origin, StoreError> {
    let bytes: Vec<u8> = row.try_get(column).map_err(answering)?;
    Origin::from_slice(&bytes).ok_or_else(|| StoreError::unusable("an origin has the wrong length"))
}

/// An error before the first request.
fn connecting(error: sqlx::Error) -> StoreError {
    StoreError::unavailable(error)
}

/// An error before the commit.
fn answering(error: sqlx::Error) -> StoreError {
    match &error {
        // The connection's worker thread ended.
        sqlx::Error::WorkerCrashed => StoreError::unavailable(error),
        // Busy, a full disk, an I/O error: the transaction is rolled back.
        sqlx::Error::Database(_) => StoreError::unavailable(error),
        _ => StoreError::unusable(error),
    }
}

/// Whether the connection may not write: `SQLITE_READONLY`.
fn is_read_only(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(8)
}

/// The result code of SQLite without its extension.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xff)
}

/// An error in answer to a commit.
fn committing(error: sqlx::Error) -> StoreError {
    // SQLITE_BUSY, SQLITE_LOCKED: another process writes, and the statement had no effect.
    if matches!(primary_code(&error), Some(5 | 6)) {
        StoreError::unavailable(error)
    } else {
        StoreError::unconfirmed(error)
    }
}
