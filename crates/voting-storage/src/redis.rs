//! Votes in Redis, with the original's keys: the name of a choice holds its count, so an original's Redis can be
//! taken over in place, and the original's tools read it.
//!
//! Beside the counts lie, in hash slots of choices, `voting:{CHOICE}:counters`, the counters of a transfer, and
//! `voting:{CHOICE}:ballots:MINUTE`, the ids of the ballots that were made in that minute, with an expiry. All ids
//! lie with the choice whose name sorts first, whatever they are for: one id counts for one choice only. What must
//! happen together happens in one script.
//!
//! In a Redis Cluster all keys of a script must lie in one hash slot. There the poll is split over parts
//! ([`crate::split`]), each with all its keys in a slot of its own: `voting:{PART}:…`.

mod connection;

use std::time::Duration;

use async_trait::async_trait;
use redis::{ErrorKind, RedisError, Script, ServerErrorKind};
use tokio::time::Instant;

use crate::ballot::{Ballot, BallotId, Cast};
use crate::grouped;
use crate::poll::{Category, Choices};
use crate::store::{Limits, StoreError, StoreKind};
use crate::tally::{Counter, Origin, Snapshot, Tally};
use crate::url::StoreUrl;
use connection::{Connection, Connector};

/// How to reach a Redis, and the keys of the poll in it.
pub(crate) struct Backend {
    connector: Connector,
    keys: Keys,
}

#[derive(Clone)]
struct Keys {
    counts: [String; 2],
    counters: [String; 2],
    ballots: String,
}

impl Keys {
    /// Those of a part in a cluster.
    fn of_part(part: u16, choices: &Choices) -> Self {
        let names = Category::ALL.map(|category| choices.name(category).to_string());
        Self {
            counts: names.each_ref().map(|name| format!("voting:{{{part}}}:count:{name}")),
            counters: names.each_ref().map(|name| format!("voting:{{{part}}}:counters:{name}")),
            ballots: format!("voting:{{{part}}}:ballots:"),
        }
    }

    fn new(choices: &Choices) -> Self {
        let names = Category::ALL.map(|category| choices.name(category).to_string());
        let home = names.iter().min().map(String::as_str).unwrap_or_default();
        Self {
            ballots: format!("voting:{{{home}}}:ballots:"),
            counters: names.each_ref().map(|name| format!("voting:{{{name}}}:counters")),
            counts: names,
        }
    }
}

impl Backend {
    pub(crate) fn new(url: &StoreUrl, choices: &Choices, limits: Limits) -> Result<Self, StoreError> {
        Ok(Self { connector: Connector::new(url, limits)?, keys: Keys::new(choices) })
    }

    /// One of the parts of a poll in a cluster.
    pub(crate) fn part(
        url: &StoreUrl,
        part: u16,
        choices: &Choices,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        Ok(Self { connector: Connector::new(url, limits)?, keys: Keys::of_part(part, choices) })
    }
}

#[async_trait]
impl grouped::Backend for Backend {
    type Session = Session;

    const KIND: StoreKind = StoreKind::Redis;
    // While one is being written to the disk, the next is on its way. A third gave nothing (docs/benchmarks.md).
    const CASTERS: u8 = 2;

    async fn connect(&self) -> Result<Session, StoreError> {
        let mut connection = self.connector.connect().await.map_err(connecting)?;
        let asked = Instant::now();
        // A script, because in a cluster a key says which server's clock is meant.
        let (seconds, micros): (u64, u64) = Script::new("return redis.call('TIME')")
            .key(&self.keys.counts[0])
            .invoke_async(&mut connection)
            .await
            .map_err(connecting)?;
        let server_time = Duration::from_secs(seconds) + Duration::from_micros(micros);
        Ok(Session {
            connection,
            keys: self.keys.clone(),
            clock: (asked + asked.elapsed() / 2, server_time),
            cast: Script::new(include_str!("redis/cast.lua")),
            counters: Script::new(include_str!("redis/counters.lua")),
        })
    }
}

/// One connection.
pub(crate) struct Session {
    connection: Connection,
    keys: Keys,
    /// A moment of ours and the server's time (since the Unix epoch) at that moment.
    clock: (Instant, Duration),
    cast: Script,
    counters: Script,
}

impl Session {
    /// A moment by the server's clock, in milliseconds since the Unix epoch. A server that was frozen and finds a
    /// request in its socket later must not carry it out: the voter has been told that it failed.
    fn server_millis(&self, moment: Instant) -> u64 {
        let (at, server_time) = self.clock;
        u64::try_from((server_time + moment.saturating_duration_since(at)).as_millis()).unwrap_or(u64::MAX)
    }

    /// Merges counters in, then takes away every vote or keeps them (`action`), and gives all counters.
    async fn counters(&mut self, action: &str, merge: &Snapshot) -> Result<Snapshot, StoreError> {
        let mut call = self.counters.prepare_invoke();
        call.key(&self.keys.counts).key(&self.keys.counters).arg(Origin::new().to_string()).arg(action);
        for category in Category::ALL {
            for (origin, counter) in merge.counters(category) {
                call.arg(category.index() + 1).arg(origin.to_string()).arg(counter.votes).arg(counter.reset);
            }
        }
        let answer: Vec<String> = call.invoke_async(&mut self.connection).await.map_err(answering)?;
        let mut snapshot = Snapshot::default();
        for counter in answer.chunks_exact(4) {
            let category = if counter[0] == "1" { Category::First } else { Category::Second };
            let (Some(origin), Ok(votes), Ok(reset)) =
                (Origin::parse(&counter[1]), counter[2].parse(), counter[3].parse())
            else {
                return Err(StoreError::unusable("it holds counters that are not ours"));
            };
            snapshot.insert(category, origin, Counter { votes, reset });
        }
        Ok(snapshot)
    }
}

#[async_trait]
impl grouped::Session for Session {
    async fn cast(&mut self, ballots: &[Ballot], until: Instant) -> Result<Vec<Cast>, StoreError> {
        let minute = |ballot: &Ballot| ballot.id.made().as_secs() / 60;
        let mut call = self.cast.prepare_invoke();
        call.key(&self.keys.counts).arg(self.server_millis(until));
        // In the order of their ids they are in that of their minutes.
        for made_together in ballots.chunk_by(|a, b| minute(a) == minute(b)) {
            let minute = minute(&made_together[0]);
            call.key(format!("{}{minute}", self.keys.ballots));
            call.arg((minute + 1) * 60 + BallotId::REMEMBERED.as_secs());
            let digit = |ballot: &Ballot| [b'1', b'2'][ballot.category.index()];
            call.arg(made_together.iter().map(digit).collect::<Vec<_>>());
            for ballot in made_together {
                call.arg(ballot.id.as_bytes());
            }
        }
        let already: Vec<usize> = call.invoke_async(&mut self.connection).await.map_err(answering)?;
        let mut casts = vec![Cast::Counted; ballots.len()];
        for place in already {
            // It counts from one.
            let Some(cast) = place.checked_sub(1).and_then(|place| casts.get_mut(place)) else {
                return Err(StoreError::unconfirmed("an answer that does not fit the question"));
            };
            *cast = Cast::AlreadyCounted;
        }
        Ok(casts)
    }

    async fn is_alive(&mut self) -> bool {
        redis::cmd("EXISTS").arg(&self.keys.counts[0]).query_async::<u8>(&mut self.connection).await.is_ok()
    }

    async fn tally(&mut self) -> Result<Tally, StoreError> {
        let [first, second]: [Option<u64>; 2] = redis::cmd("MGET")
            .arg(&self.keys.counts)
            .query_async(&mut self.connection)
            .await
            .map_err(answering)?;
        Ok(Tally::new(first.unwrap_or_default(), second.unwrap_or_default()))
    }

    async fn reset(&mut self) -> Result<(), StoreError> {
        self.counters("reset", &Snapshot::default()).await.map(drop)
    }

    async fn snapshot(&mut self) -> Result<Snapshot, StoreError> {
        self.counters("keep", &Snapshot::default()).await
    }

    async fn merge(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.counters("keep", snapshot).await.map(drop)
    }

    async fn forget(&mut self, _made_before: Duration) -> Result<bool, StoreError> {
        // The sets of ids expire.
        Ok(false)
    }
}

/// What an error means while a connection is made: nothing was asked yet.
fn connecting(error: RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => {
            StoreError::unusable(error.category())
        }
        _ => StoreError::unavailable(error),
    }
}

/// What an error means as the answer to a request.
fn answering(error: RedisError) -> StoreError {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    match (error.kind(), error.code()) {
        (ErrorKind::Io, _) => StoreError::unconfirmed(error),
        // The slot has moved, or nobody has it: the next connection learns where it is.
        (ErrorKind::Server(Ask | Moved), _)
        | (ErrorKind::ClusterConnectionNotFound, _)
        | (ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | ReadOnly | TryAgain), _)
        | (ErrorKind::Extension, Some("LATE" | "OOM" | "MISCONF" | "NOREPLICAS")) => {
            StoreError::unavailable(error)
        }
        _ => StoreError::unusable(error),
    }
}
