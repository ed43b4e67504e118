//! Votes in MySQL, MariaDB or a database that speaks their protocol.
//!
//! A batch of ballots is one transaction, sent in one message: their ids, the counts, the commit. Statements are plain
//! text because their length varies with the batch. They contain only numbers and hexadecimal literals of parsed bytes,
//! so nothing needs escaping.

mod azurevote;
mod connect;
mod error;
mod foreign;
mod schema;
mod session;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::mysql::{MySqlConnection, MySqlQueryResult, MySqlRow};
use sqlx::{AssertSqlSafe, Executor, Row, raw_sql};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use voting_core::tally::{Counter, Origin};
use voting_core::{Ballot, BallotId, Cast, Choice, Choices, Snapshot, StoreKind, Tally};

use self::connect::{Connector, Slot, Slots};
use self::error::{CONTENTION, NOT_NEW, OUT_OF_RANGE, READ_ONLY, answering, connecting, error_number};
use crate::backend::{self, Found, PurgeTimes, ServerClock};
use crate::migrations::not_ready;
use crate::password::Login;
use crate::place::Place;
use crate::store::{Finding, OtherVotes, StoreError};
use crate::url::StoreAddress;

/// The key of the row of `tallies` that holds, as its votes, the time of the newest purged ballot id: milliseconds since the
/// Unix epoch. No choice has an empty name.
const PURGED: &str = "x'',x'00000000000000000000000000000000'";

/// The error of a request that reached the server after its deadline.
const LATE: &str = "the request reached the store after its deadline";

/// The key of the row of `tallies` that holds the place in a sharded poll, as its votes and reset votes.
const PLACE: &str = "x'',x'00000000000000000000000000000001'";

/// A database, and the poll in it.
pub(crate) struct Backend {
    connector: Arc<Connector>,
    choices: Choices,
    slots: Arc<Slots>,
    must_exist: bool,
}

impl Backend {
    pub(crate) fn new(address: &StoreAddress, choices: &Choices) -> Result<Self, StoreError> {
        Ok(Self {
            connector: Connector::new(address)?.into(),
            choices: choices.clone(),
            slots: Slots::new(),
            must_exist: address.must_exist(),
        })
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
        let (mut connection, login) = self.connector.connect().await?;
        session::configure(&mut connection).await.map_err(connecting)?;
        let slot = self.slots.take(&mut connection).await?;
        let identity = match schema::own_origin(&mut connection).await.map_err(connecting)? {
            Some(identity) => identity,
            None if self.must_exist => return Err(not_ready("the database has no tables of this version")),
            None => schema::prepare(self.connector.options(&login)?).await?,
        };
        let origin = identity.at(&session::place(&mut connection).await.map_err(connecting)?);
        let names = Choice::ALL.map(|choice| hex(self.choices.name(choice).as_str().as_bytes()));
        schema::check_engines(&mut connection).await?;
        let clock = ServerClock::default();
        let connector = self.connector.clone();
        let mut session = Session {
            connector,
            connection,
            login,
            renewal: None,
            slot,
            identity,
            origin,
            names,
            clock,
            may_be_replica: false,
            place: None,
            expected_place: None,
        };
        session.read_place().await?;
        Ok(session)
    }
}

/// One connection to a database whose schema is ready.
pub(crate) struct Session {
    connector: Arc<Connector>,
    connection: MySqlConnection,
    login: Login,
    /// Whether the server accepts another password, once that is known.
    renewal: Option<JoinHandle<bool>>,
    slot: Slot,
    identity: Origin,
    /// The origin of the votes that are cast in this copy of the database.
    origin: Origin,
    /// The names of the choices, as literals.
    names: [String; 2],
    clock: ServerClock,
    /// Whether the server answered that it is read-only, as replicas are.
    may_be_replica: bool,
    /// The place in a sharded poll that the store keeps.
    place: Option<Place>,
    /// The place that the store is to keep.
    expected_place: Option<Place>,
}

impl Session {
    /// Sends statements that end with a commit in one message.
    async fn commit(&mut self, statements: String) -> Result<(), sqlx::Error> {
        let done = self.execute(statements).await;
        if let Err(error @ sqlx::Error::Database(_)) = &done {
            // The server stopped before the commit, in an open transaction.
            let rolled_back = self.execute("ROLLBACK".to_owned()).await;
            rolled_back
                .map_err(|second| sqlx::Error::Protocol(format!("{error}; the rollback failed: {second}")))?;
        }
        done.map(drop)
    }

    async fn read_place(&mut self) -> Result<(), StoreError> {
        let query = format!("SELECT votes, reset_votes FROM tallies WHERE (choice, origin) = ({PLACE})");
        let rows = self.connection.fetch_all(raw_sql(AssertSqlSafe(query))).await.map_err(connecting)?;
        self.place = match rows.first() {
            Some(row) => {
                let small = |column| u16::try_from(number(row, column)?).map_err(StoreError::unusable);
                Some(Place::from_numbers([small(0)?, small(1)?]))
            }
            None => None,
        };
        Ok(())
    }

    async fn execute(&mut self, statements: String) -> Result<MySqlQueryResult, sqlx::Error> {
        self.slot.set_busy(true);
        let done = self.connection.execute(raw_sql(AssertSqlSafe(statements))).await;
        self.slot.set_busy(false);
        done
    }

    async fn rows(&mut self, query: String) -> Result<Vec<MySqlRow>, StoreError> {
        self.slot.set_busy(true);
        let rows = self.connection.fetch_all(raw_sql(AssertSqlSafe(query))).await;
        self.slot.set_busy(false);
        rows.map_err(answering)
    }

    /// Returns what casting each ballot again would return; `None`: it is not in the store. `lock` is a clause that locks their rows, or empty.
    async fn unchanged(&mut self, ballots: &[Ballot], lock: &str) -> Result<Vec<Option<Cast>>, StoreError> {
        let ids = list(ballots.iter().map(|ballot| hex(ballot.id.as_bytes())));
        let rows = self.rows(format!("SELECT id FROM ballots WHERE id IN ({ids}){lock}")).await?;
        let known: HashSet<Vec<u8>> =
            rows.iter().map(|row| row.try_get(0).map_err(answering)).collect::<Result<_, _>>()?;
        let purged = format!("SELECT votes FROM tallies WHERE (choice, origin) = ({PURGED})");
        let purged = self.rows(purged).await?.first().map(|row| number(row, 0)).transpose()?;
        let find = |ballot: &Ballot| match ballot.id.as_bytes() {
            id if known.contains(id.as_slice()) => Some(Cast::AlreadyCounted),
            id if purged.is_some_and(|purged| millis_of(id) <= purged) => Some(Cast::Expired),
            _ => None,
        };
        Ok(ballots.iter().map(find).collect())
    }

    /// Fails if a counter has no room for these ballots.
    async fn check_room(&mut self, ballots: &[Ballot]) -> Result<(), StoreError> {
        for choice in Choice::ALL {
            let votes = ballots.iter().filter(|ballot| ballot.choice == choice).count() as u64;
            let (name, origin) = (&self.names[choice.index()], hex(self.origin.as_bytes()));
            let query = format!("SELECT votes FROM tallies WHERE choice = {name} AND origin = {origin}");
            let counter = self.rows(query).await?.first().map(|row| number(row, 0)).transpose()?;
            if votes > 0 && counter.is_some_and(|counter| counter.saturating_add(votes) > Counter::MAX_VOTES)
            {
                return Err(StoreError::full_counter());
            }
        }
        Ok(())
    }

    /// The statements that count new ballots, which are sorted by id. They fail with one of [`NOT_NEW`] if one is known or as
    /// old as purged ones, if a counter has no room for them, or if they reach the server after the deadline.
    fn cast_statements(&self, ballots: &[Ballot], deadline: f64) -> String {
        let origin = hex(self.origin.as_bytes());
        let mut votes = [0_u64; 2];
        for ballot in ballots {
            votes[ballot.choice.index()] += 1;
        }
        // One more than the purged time and this overflow if the oldest ballot is as old.
        let room = i64::MAX.unsigned_abs() - millis_of(ballots[0].id.as_bytes());
        let ids = list(ballots.iter().map(|ballot| format!("({})", hex(ballot.id.as_bytes()))));
        let counts = list(
            self.names
                .iter()
                .zip(votes)
                .filter(|(_, votes)| *votes > 0)
                .map(|(name, votes)| format!("({name},{origin},{votes},0)")),
        );
        // The counts come last: all replicas share their rows, which stay locked until the commit. The row of purged ids is
        // among them and keeps its value, or the addition overflows and the statement fails. It comes after the ids: a purge
        // writes it before it deletes ids, so an id that was deleted before its insert here is found to be purged.
        format!(
            "START TRANSACTION;\
             INSERT INTO ballots (id) VALUES {ids};\
             INSERT INTO tallies (choice, origin, votes, reset_votes) VALUES ({PURGED},1,0),{counts} \
             ON DUPLICATE KEY UPDATE votes = votes + IF(choice = x'', \
             0 * (votes + 1 + IF(UNIX_TIMESTAMP(NOW(3)) > {deadline}, {overflow}, {room})), \
             IF(votes + VALUES(votes) > {most}, {overflow}, VALUES(votes)));\
             COMMIT",
            overflow = i64::MAX,
            most = Counter::MAX_VOTES,
        )
    }
}

#[async_trait]
impl backend::Session for Session {
    async fn cast(&mut self, ballots: &[Ballot], until: Instant) -> Result<Vec<Cast>, StoreError> {
        if let (None, Some(place)) = (self.place, self.expected_place) {
            place.check(self.keep_place(place).await?)?;
        }
        let deadline = self.clock.at(until).as_secs_f64();
        let mut unchanged = vec![None; ballots.len()];
        // Usually all ids are new and the first attempt succeeds.
        for _ in 0..5 {
            let is_new = ballots.iter().zip(&unchanged).filter(|(_, cast)| cast.is_none());
            let new: Vec<_> = is_new.map(|(ballot, _)| *ballot).collect();
            let done =
                if new.is_empty() { Ok(()) } else { self.commit(self.cast_statements(&new, deadline)).await };
            match done {
                Ok(()) => {
                    return Ok(unchanged.into_iter().map(|cast| cast.unwrap_or(Cast::Counted)).collect());
                }
                Err(error) if error_number(&error).is_some_and(|number| NOT_NEW.contains(&number)) => {
                    if Instant::now() > until {
                        break;
                    }
                    let before = unchanged;
                    unchanged = self.unchanged(ballots, "").await?;
                    if error_number(&error) == Some(OUT_OF_RANGE) && unchanged == before {
                        self.check_room(&new).await?;
                    }
                }
                Err(error) if error_number(&error).is_some_and(|number| CONTENTION.contains(&number)) => {}
                Err(error) => {
                    self.may_be_replica =
                        error_number(&error).is_some_and(|number| READ_ONLY.contains(&number));
                    return Err(answering(error));
                }
            }
        }
        Err(StoreError::unavailable("too much contention on the same ballots, or the deadline has passed"))
    }

    async fn probe(&mut self, ballots: &[Ballot], until: Instant) -> Result<(), StoreError> {
        let statements = self.cast_statements(ballots, self.clock.at(until).as_secs_f64());
        let statements = statements.strip_suffix("COMMIT").unwrap_or_default();
        match self.commit(format!("{statements}ROLLBACK")).await {
            Err(error) if error_number(&error) == Some(OUT_OF_RANGE) => {
                self.check_room(ballots).await?;
                Err(StoreError::unavailable(LATE))
            }
            done => done.map_err(answering),
        }
    }

    async fn find(&mut self, ballots: &[Ballot]) -> Result<Found, StoreError> {
        // A lock waits for a transaction that is casting one of them.
        let casts = self.unchanged(ballots, " LOCK IN SHARE MODE").await?;
        Ok(Found { casts, is_current: !self.may_be_replica })
    }

    async fn inspect(&mut self) -> Result<Vec<Finding>, StoreError> {
        let time = session::server_time(&mut self.connection).await.map_err(connecting)?;
        self.clock = ServerClock::measured(time);
        let clock = Finding::of_clock("the clock of the MySQL server", time);
        Ok(clock.into_iter().chain(session::durability(&mut self.connection).await).collect())
    }

    fn place(&self) -> Option<Place> {
        self.place
    }

    fn expect_place(&mut self, place: Place) {
        self.expected_place = Some(place);
    }

    async fn keep_place(&mut self, place: Place) -> Result<Place, StoreError> {
        if self.place.is_none() {
            let [number, of] = place.to_numbers();
            let row = format!("({PLACE},{number},{of})");
            self.commit(format!(
                "INSERT IGNORE INTO tallies (choice, origin, votes, reset_votes) VALUES {row}"
            ))
            .await
            .map_err(connecting)?;
            self.read_place().await?;
        }
        self.place.ok_or_else(|| StoreError::unusable("it keeps no place in a sharded poll"))
    }

    fn may_renew_login(&self) -> bool {
        self.login.is_some()
    }

    async fn renew_login(&mut self) -> bool {
        // MySQL has no command to log in again, so a connection is replaced once the server has accepted the new password.
        // Votes don't wait for that.
        match self.renewal.take() {
            Some(accepts) if accepts.is_finished() => !accepts.await.unwrap_or(false),
            Some(accepts) => {
                self.renewal = Some(accepts);
                true
            }
            None => {
                let password = self.connector.changed(&self.login).await;
                if password.is_some() {
                    self.renewal = Some(tokio::spawn(self.connector.clone().accepts(password)));
                }
                true
            }
        }
    }

    async fn is_alive(&mut self) -> bool {
        // Also notices an origin that was renewed meanwhile.
        matches!(schema::own_origin(&mut self.connection).await, Ok(Some(identity)) if identity == self.identity)
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

    async fn other_votes(&mut self) -> Result<OtherVotes, StoreError> {
        let others = format!(
            "SELECT choice, CAST(SUM(votes - reset_votes) AS SIGNED) FROM tallies \
             WHERE choice <> x'' AND choice NOT IN ({}) GROUP BY choice HAVING SUM(votes - reset_votes) > 0",
            list(&self.names),
        );
        let mut votes = OtherVotes::default();
        for row in &self.rows(others).await? {
            let name: Vec<u8> = row.try_get(0).map_err(answering)?;
            votes.0.insert(String::from_utf8_lossy(&name).into_owned(), number(row, 1)?);
        }
        Ok(votes)
    }

    async fn reset(&mut self, until: Instant) -> Result<(), StoreError> {
        let names = list(&self.names);
        let deadline = self.clock.at(until).as_secs_f64();
        // A request that reaches the server late, or gets the locks late, overflows if there are votes: the visitor has been told
        // that it was not confirmed. A statement's time is that of its start, so the locks come first.
        let reset = format!(
            "START TRANSACTION;\
             SELECT votes FROM tallies WHERE choice IN ({names}) FOR UPDATE;\
             UPDATE tallies SET reset_votes = votes + 0 * (votes + IF(UNIX_TIMESTAMP(NOW(3)) > {deadline}, {overflow}, 0)) \
             WHERE choice IN ({names});\
             COMMIT",
            overflow = i64::MAX,
        );
        self.commit(reset).await.map_err(|error| match error_number(&error) {
            Some(OUT_OF_RANGE) => StoreError::unavailable(LATE),
            _ => answering(error),
        })?;
        // Counters keep their votes. One that is full would refuse each further vote, so later votes get another origin.
        let renew = format!(
            "UPDATE own_origin SET origin = {} WHERE id = 1 AND EXISTS (SELECT 1 FROM tallies WHERE votes > {})",
            hex(Origin::new().as_bytes()),
            Counter::MAX_VOTES / 2,
        );
        self.execute(renew).await.map(drop).map_err(answering)
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

    async fn purge_times(&mut self) -> Result<PurgeTimes, StoreError> {
        let server = session::server_time(&mut self.connection).await.map_err(connecting)?;
        let newest = self.newest_id("").await?;
        Ok(PurgeTimes { server: Some(server), newest_ballot: newest.as_ref().map(BallotId::time_of) })
    }

    async fn identity(&mut self) -> Result<Option<Origin>, StoreError> {
        Ok(Some(self.identity))
    }

    async fn origin(&mut self) -> Result<Option<Origin>, StoreError> {
        Ok(Some(self.origin))
    }

    async fn renew_origin(&mut self) -> Result<(), StoreError> {
        let renewed = hex(Origin::new().as_bytes());
        let renew = format!("UPDATE own_origin SET origin = {renewed} WHERE id = 1");
        self.execute(renew).await.map(drop).map_err(answering)
    }

    async fn purge_expired(&mut self, created_before: Duration) -> Result<bool, StoreError> {
        const LIMIT: u64 = 2000;
        let first_kept = hex(&BallotId::min_id_at(created_before));
        let Some(last) = self.newest_id(&format!("WHERE id < {first_kept}")).await? else {
            return Ok(false);
        };
        // First, because from now on no ballot as old as these is counted. Not by time: after a clock was wrong, newer
        // ballots still count.
        let purged = format!(
            "INSERT INTO tallies (choice, origin, votes, reset_votes) VALUES ({PURGED},{},0) \
             ON DUPLICATE KEY UPDATE votes = GREATEST(votes, VALUES(votes))",
            millis_of(&last),
        );
        self.commit(purged).await.map_err(answering)?;
        let last = hex(&last);
        let delete = format!("DELETE FROM ballots WHERE id <= {last} LIMIT {LIMIT}");
        let done = self.execute(delete).await.map_err(answering)?;
        Ok(done.rows_affected() == LIMIT)
    }
}

impl Session {
    /// The newest of the ids that this clause selects.
    async fn newest_id(&mut self, clause: &str) -> Result<Option<[u8; 16]>, StoreError> {
        let rows = self.rows(format!("SELECT MAX(id) FROM ballots {clause}")).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let id: Option<Vec<u8>> = row.try_get(0).map_err(answering)?;
        id.map(|id| id.try_into().map_err(|_| StoreError::unusable("a ballot id has the wrong length")))
            .transpose()
    }

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

/// The time at which the ballot with this id was created: milliseconds since the Unix epoch.
fn millis_of(id: &[u8; 16]) -> u64 {
    u64::try_from(BallotId::time_of(id).as_millis()).unwrap_or(u64::MAX)
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
