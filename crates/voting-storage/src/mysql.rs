//! Votes in MySQL, MariaDB or a database that speaks their protocol.
//!
//! A batch of ballots is one transaction, sent in one message: their ids, the counts, the commit. Statements are plain
//! text because their length varies with the batch. They contain only numbers and hexadecimal literals of parsed bytes,
//! so nothing needs escaping.

mod azurevote;
mod error;
mod schema;
mod session;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row, raw_sql};
use tokio::time::Instant;
use voting_core::tally::{Counter, Origin};
use voting_core::{Ballot, BallotId, Cast, Choice, Choices, Snapshot, StoreKind, Tally};

use self::error::{CONTENTION, DUPLICATE, answering, connecting, error_number};
use crate::backend;
use crate::store::StoreError;
use crate::url::StoreAddress;

/// A database, and the poll in it.
pub(crate) struct Backend {
    options: MySqlConnectOptions,
    choices: Choices,
}

impl Backend {
    pub(crate) fn new(address: &StoreAddress, choices: &Choices) -> Result<Self, StoreError> {
        // The driver's error may repeat the URL with its password.
        let options: MySqlConnectOptions = address
            .expose()
            .parse()
            .map_err(|_| StoreError::unusable("the MySQL driver does not know a part of the URL"))?;
        Ok(Self { options: options.disable_statement_logging(), choices: choices.clone() })
    }
}

#[async_trait]
impl backend::Backend for Backend {
    type Session = Session;

    const KIND: StoreKind = StoreKind::MySql;
    // Every batch locks the rows of the choices until its commit.
    const CAST_CONNECTIONS: u8 = 1;
    const PARALLEL_BELOW: usize = 1;

    async fn connect(&self) -> Result<Session, StoreError> {
        let mut connection = self.options.connect().await.map_err(connecting)?;
        session::configure(&mut connection).await.map_err(connecting)?;
        let start = Instant::now();
        let server_time = session::server_time(&mut connection).await.map_err(connecting)?;
        let clock = (start + start.elapsed() / 2, server_time);
        let origin = match schema::own_origin(&mut connection).await.map_err(connecting)? {
            Some(origin) => origin,
            None => schema::prepare(self.options.clone()).await?,
        };
        let names = Choice::ALL.map(|choice| hex(self.choices.name(choice).as_str().as_bytes()));
        schema::check_engines(&mut connection).await?;
        Ok(Session { connection, origin: hex(origin.as_bytes()), names, clock })
    }
}

/// One connection to a database whose schema is ready.
pub(crate) struct Session {
    connection: MySqlConnection,
    /// The database's origin, as a literal.
    origin: String,
    /// The names of the choices, as literals.
    names: [String; 2],
    /// A local instant and the server's time (since the Unix epoch) at that instant.
    clock: (Instant, Duration),
}

impl Session {
    /// An instant by the server's clock, in seconds since the Unix epoch.
    fn server_seconds(&self, instant: Instant) -> f64 {
        let (at, server_time) = self.clock;
        (server_time + instant.saturating_duration_since(at)).as_secs_f64()
    }

    /// Sends statements that end with a commit in one message.
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

    /// Returns those of the ids that are known.
    async fn known(&mut self, ballots: &[Ballot]) -> Result<HashSet<Vec<u8>>, StoreError> {
        let ids = list(ballots.iter().map(|ballot| hex(ballot.id.as_bytes())));
        let rows = self.rows(format!("SELECT id FROM ballots WHERE id IN ({ids})")).await?;
        rows.iter().map(|row| row.try_get(0).map_err(answering)).collect()
    }

    fn cast_statements(&self, ballots: &[&Ballot]) -> String {
        let mut votes = [0_u64; 2];
        for ballot in ballots {
            votes[ballot.choice.index()] += 1;
        }
        let ids = list(ballots.iter().map(|ballot| format!("({})", hex(ballot.id.as_bytes()))));
        let counts = list(
            self.names
                .iter()
                .zip(votes)
                .filter(|(_, votes)| *votes > 0)
                .map(|(name, votes)| format!("({name},{},{votes},0)", self.origin)),
        );
        // The counts come last: all replicas share their rows, which stay locked until the commit.
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
impl backend::Session for Session {
    async fn cast(&mut self, ballots: &[Ballot], _until: Instant) -> Result<Vec<Cast>, StoreError> {
        let mut known = HashSet::new();
        // Usually all ids are new and the first attempt succeeds.
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
        Err(StoreError::unavailable("too much contention on the same ballots"))
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
            let choice = self.choice(row)?;
            tally[choice.index()] = number(row, 1)?;
        }
        Ok(Tally::new(tally[0], tally[1]))
    }

    async fn reset(&mut self, until: Instant) -> Result<(), StoreError> {
        let names = list(&self.names);
        let deadline = self.server_seconds(until);
        // A request that reaches the server late matches no row: the visitor has been told that nothing was reset.
        let reset = format!(
            "UPDATE tallies SET reset_votes = votes WHERE choice IN ({names}) \
             AND UNIX_TIMESTAMP(NOW(3)) <= {deadline}"
        );
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
            let origin = Origin::from_slice(&origin)
                .ok_or_else(|| StoreError::unusable("an origin has the wrong length"))?;
            let counter = Counter { votes: number(row, 2)?, reset_votes: number(row, 3)? };
            snapshot.merge_counter(self.choice(row)?, origin, counter);
        }
        Ok(snapshot)
    }

    async fn merge(&mut self, snapshot: &Snapshot, _until: Instant) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        for choice in Choice::ALL {
            for (origin, counter) in snapshot.counters(choice) {
                let name = &self.names[choice.index()];
                let Counter { votes, reset_votes } = counter;
                rows.push(format!("({name},{},{votes},{reset_votes})", hex(origin.as_bytes())));
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

    async fn purge_expired(&mut self, created_before: Duration) -> Result<bool, StoreError> {
        const LIMIT: u64 = 2000;
        let first_kept = hex(&BallotId::min_id_at(created_before));
        let delete = format!("DELETE FROM ballots WHERE id < {first_kept} LIMIT {LIMIT}");
        let done = self.connection.execute(raw_sql(AssertSqlSafe(delete))).await.map_err(answering)?;
        Ok(done.rows_affected() == LIMIT)
    }
}

impl Session {
    /// The choice named in the first column.
    fn choice(&self, row: &MySqlRow) -> Result<Choice, StoreError> {
        let name: Vec<u8> = row.try_get(0).map_err(answering)?;
        let name = hex(&name);
        Choice::ALL
            .into_iter()
            .find(|choice| self.names[choice.index()] == name)
            .ok_or_else(|| StoreError::unusable("the tally of an unknown choice"))
    }
}

fn number(row: &MySqlRow, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column).map_err(answering)?;
    Ok(u64::try_from(number).unwrap_or_default())
}

/// Bytes as an SQL literal.
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
