//! Votes in MySQL, MariaDB or a database that speaks their protocol.
//!
//! A group of ballots is one transaction, sent in one message: their ids, the counts, the commit. Statements are
//! plain text because their length varies with the group; everything that is written into one is a number or a
//! hexadecimal literal of bytes that were parsed before, so nothing needs escaping.

mod azurevote;

mod schema;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row, raw_sql};
use tokio::time::Instant;

use crate::ballot::{Ballot, BallotId, Cast};
use crate::grouped;
use crate::poll::{Category, Choices};
use crate::store::{StoreError, StoreKind};
use crate::tally::{Counter, Origin, Snapshot, Tally};
use crate::url::StoreUrl;

/// How to reach a database, and the poll in it.
pub(crate) struct Backend {
    options: MySqlConnectOptions,
    choices: Choices,
}

impl Backend {
    pub(crate) fn new(url: &StoreUrl, choices: &Choices) -> Result<Self, StoreError> {
        // The driver's error may repeat the URL, and with it the password.
        let options: MySqlConnectOptions = url
            .expose()
            .parse()
            .map_err(|_| StoreError::unusable("its URL has a part that the driver of MySQL does not know"))?;
        Ok(Self { options: options.disable_statement_logging(), choices: choices.clone() })
    }
}

#[async_trait]
impl grouped::Backend for Backend {
    type Session = Session;

    const KIND: StoreKind = StoreKind::MySql;
    // All groups want the rows of the choices, until their commit.
    const CASTERS: u8 = 1;

    async fn connect(&self) -> Result<Session, StoreError> {
        let mut connection = self.options.connect().await.map_err(connecting)?;
        let origin = match schema::own_origin(&mut connection).await.map_err(connecting)? {
            Some(origin) => origin,
            None => schema::prepare(self.options.clone()).await?,
        };
        let names = Category::ALL.map(|category| hex(self.choices.name(category).as_str().as_bytes()));
        Ok(Session { connection, origin: hex(origin.as_bytes()), names })
    }
}

/// One connection to a database whose schema is ready.
pub(crate) struct Session {
    connection: MySqlConnection,
    /// This database's origin, as a literal.
    origin: String,
    /// The names of the choices, as literals.
    names: [String; 2],
}

impl Session {
    /// Runs statements that end with a commit, in one message.
    async fn commit(&mut self, statements: String) -> Result<(), sqlx::Error> {
        let done = self.connection.execute(raw_sql(AssertSqlSafe(statements))).await;
        if let Err(sqlx::Error::Database(_)) = done {
            // The server stopped before the commit, in an open transaction.
            self.connection.execute("ROLLBACK").await?;
        }
        done.map(drop)
    }

    async fn rows(&mut self, query: String) -> Result<Vec<MySqlRow>, StoreError> {
        self.connection.fetch_all(raw_sql(AssertSqlSafe(query))).await.map_err(answering)
    }

    /// Which of these ids are known.
    async fn known(&mut self, ballots: &[Ballot]) -> Result<HashSet<Vec<u8>>, StoreError> {
        let ids = list(ballots.iter().map(|ballot| hex(ballot.id.as_bytes())));
        let rows = self.rows(format!("SELECT id FROM ballots WHERE id IN ({ids})")).await?;
        rows.iter().map(|row| row.try_get(0).map_err(answering)).collect()
    }

    fn cast_statements(&self, ballots: &[&Ballot]) -> String {
        let mut votes = [0_u64; 2];
        for ballot in ballots {
            votes[ballot.category.index()] += 1;
        }
        let ids = list(ballots.iter().map(|ballot| format!("({})", hex(ballot.id.as_bytes()))));
        let counts = list(
            self.names
                .iter()
                .zip(votes)
                .filter(|(_, votes)| *votes > 0)
                .map(|(name, votes)| format!("({name},{},{votes},0)", self.origin)),
        );
        // The counts come last: their rows are shared by all replicas and stay locked until the commit.
        format!(
            "START TRANSACTION;\
             INSERT INTO ballots (id) VALUES {ids};\
             INSERT INTO tallies (choice, origin, votes, reset_votes) VALUES {counts} \
             ON DUPLICATE KEY UPDATE votes = votes + VALUES(votes);\
             COMMIT"
        )
    }
}

#[async_trait]
impl grouped::Session for Session {
    async fn cast(&mut self, ballots: &[Ballot], _until: Instant) -> Result<Vec<Cast>, StoreError> {
        let mut known = HashSet::new();
        // Usually all are new and the first attempt is the only one.
        for _ in 0..5 {
            let is_new = |ballot: &&Ballot| !known.contains(ballot.id.as_bytes().as_slice());
            let new: Vec<_> = ballots.iter().filter(is_new).collect();
            let done = if new.is_empty() { Ok(()) } else { self.commit(self.cast_statements(&new)).await };
            match done {
                Ok(()) => {
                    let cast = |new| if new { Cast::Counted } else { Cast::AlreadyCounted };
                    return Ok(ballots.iter().map(|ballot| cast(is_new(&ballot))).collect());
                }
                Err(error) if error_number(&error) == Some(DUPLICATE) => known = self.known(ballots).await?,
                Err(error) if error_number(&error).is_some_and(|number| CONTENTION.contains(&number)) => {}
                Err(error) => return Err(answering(error)),
            }
        }
        Err(StoreError::unavailable("too many others write the same ballots"))
    }

    async fn is_alive(&mut self) -> bool {
        self.connection.ping().await.is_ok()
    }

    async fn tally(&mut self) -> Result<Tally, StoreError> {
        let rows = self
            .rows(format!(
                "SELECT choice, CAST(SUM(votes - reset_votes) AS SIGNED) FROM tallies \
                 WHERE choice IN ({}) GROUP BY choice",
                list(&self.names),
            ))
            .await?;
        let mut tally = [0; 2];
        for row in &rows {
            let category = self.category(row)?;
            tally[category.index()] = number(row, 1)?;
        }
        Ok(Tally::new(tally[0], tally[1]))
    }

    async fn reset(&mut self) -> Result<(), StoreError> {
        let names = list(&self.names);
        let reset = format!("UPDATE tallies SET reset_votes = votes WHERE choice IN ({names})");
        self.commit(reset).await.map_err(answering)
    }

    async fn snapshot(&mut self) -> Result<Snapshot, StoreError> {
        let rows = self
            .rows(format!(
                "SELECT choice, origin, votes, reset_votes FROM tallies WHERE choice IN ({})",
                list(&self.names),
            ))
            .await?;
        let mut snapshot = Snapshot::default();
        for row in &rows {
            let origin: Vec<u8> = row.try_get(1).map_err(answering)?;
            let origin =
                Origin::from_slice(&origin).ok_or_else(|| StoreError::unusable("an origin is not ours"))?;
            let counter = Counter { votes: number(row, 2)?, reset: number(row, 3)? };
            snapshot.insert(self.category(row)?, origin, counter);
        }
        Ok(snapshot)
    }

    async fn merge(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        for category in Category::ALL {
            for (origin, counter) in snapshot.counters(category) {
                let name = &self.names[category.index()];
                let Counter { votes, reset } = counter;
                rows.push(format!("({name},{},{votes},{reset})", hex(origin.as_bytes())));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let merge = format!(
            "INSERT INTO tallies (choice, origin, votes, reset_votes) VALUES {} ON DUPLICATE KEY UPDATE \
             votes = GREATEST(votes, VALUES(votes)), reset_votes = GREATEST(reset_votes, VALUES(reset_votes))",
            list(&rows),
        );
        self.commit(merge).await.map_err(answering)
    }

    async fn forget(&mut self, made_before: Duration) -> Result<bool, StoreError> {
        const AT_ONCE: u64 = 2000;
        let first_kept = hex(&BallotId::first_of(made_before));
        let delete = format!("DELETE FROM ballots WHERE id < {first_kept} LIMIT {AT_ONCE}");
        let done = self.connection.execute(raw_sql(AssertSqlSafe(delete))).await.map_err(answering)?;
        Ok(done.rows_affected() == AT_ONCE)
    }
}

impl Session {
    /// The category whose name a row's first column holds.
    fn category(&self, row: &MySqlRow) -> Result<Category, StoreError> {
        let name: Vec<u8> = row.try_get(0).map_err(answering)?;
        let name = hex(&name);
        Category::ALL
            .into_iter()
            .find(|category| self.names[category.index()] == name)
            .ok_or_else(|| StoreError::unusable("a tally of another choice than was asked for"))
    }
}

fn number(row: &MySqlRow, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column).map_err(answering)?;
    Ok(u64::try_from(number).unwrap_or_default())
}

/// Bytes as a literal of SQL.
fn hex(bytes: &[u8]) -> String {
    let mut literal = String::with_capacity(2 * bytes.len() + 3);
    literal.push_str("x'");
    for byte in bytes {
        let _ = write!(literal, "{byte:02x}");
    }
    literal.push('\'');
    literal
}

fn list(items: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut list = String::new();
    for item in items {
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(item.as_ref());
    }
    list
}

/// `ER_DUP_ENTRY`: a ballot of the group is known.
const DUPLICATE: u16 = 1062;
/// `ER_LOCK_WAIT_TIMEOUT`, `ER_LOCK_DEADLOCK`: the transaction was rolled back for another's sake.
const CONTENTION: [u16; 2] = [1205, 1213];

fn error_number(error: &sqlx::Error) -> Option<u16> {
    error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
}

/// What an error means before anything was asked.
fn connecting(error: sqlx::Error) -> StoreError {
    match answering(error) {
        StoreError::Unconfirmed(cause) => StoreError::Unavailable(cause),
        other => other,
    }
}

/// What an error means as the answer to a transaction.
fn answering(error: sqlx::Error) -> StoreError {
    match error_number(&error) {
        None if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => {
            StoreError::unconfirmed(error)
        }
        None => StoreError::unusable(error),
        // The server went away, or the error may be that of the commit itself: shutdown, a killed query or
        // connection, ER_ERROR_DURING_COMMIT, group replication, Galera.
        Some(1053 | 1317 | 1927 | 1180 | 3100 | 1047) => StoreError::unconfirmed(error),
        // Too many connections, a full disk or table, locks, a server that is read-only for now.
        Some(1040 | 1203 | 1226 | 1021 | 1114 | 1205 | 1213 | 1290 | 1836) => StoreError::unavailable(error),
        Some(_) => StoreError::unusable(error),
    }
}
