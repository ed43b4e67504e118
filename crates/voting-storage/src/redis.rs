//! Votes in Redis, with the keys of the Azure Voting App (azure-vote): the name of a choice holds its count. So a Redis
//! of azure-vote can be taken over in place, and its tools can read ours.
//!
//! Besides the counts there are, in the hash slots of the choices, `voting:{CHOICE}:counters` with the counters of a
//! transfer, and `voting:{CHOICE}:ballots:MINUTE` with the ids of the ballots created in that minute. All ids are stored
//! with the choice whose name sorts first, whichever choice they are for: an id counts for one choice only. Each
//! operation is one atomic script.
//!
//! No key expires on its own, as the server's clock may be wrong or jump; also, policies such as `volatile-lru` evict
//! keys with an expiry. `voting:{CHOICE}:minutes` lists the minutes, and `voting:{CHOICE}:purged` holds the newest one
//! that was purged: older ballots are not counted any more.
//!
//! In a Redis Cluster all keys of a script must be in one hash slot. There the poll is sharded ([`crate::sharded`]), and
//! each shard has all its keys in one slot: `voting:{SHARD}:…`.

mod connection;
mod error;
mod inspection;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join;
use redis::{ErrorKind, RedisError, Script, ServerErrorKind};
use tokio::time::Instant;
use voting_core::tally::{Counter, Origin};
use voting_core::{Ballot, Cast, Choice, Choices, Snapshot, StoreKind, Tally};

use self::connection::{Connection, Connector};
use self::error::{answering, connecting, reading};
use self::inspection::Inspection;
use crate::backend::{self, Found, PurgeTimes, ServerClock};
use crate::password::Login;
use crate::place::Place;
use crate::store::{Finding, OtherVotes, StoreError, Timeouts};
use crate::url::StoreAddress;

/// A Redis, and the keys of the poll in it.
pub(crate) struct Backend {
    connector: Arc<Connector>,
    keys: Keys,
    allows_eviction: bool,
}

#[derive(Clone)]
struct Keys {
    /// The shard of a cluster.
    shard: Option<u16>,
    counts: [String; 2],
    counters: [String; 2],
    ballots: String,
    minutes: String,
    purged: String,
}

impl Keys {
    /// The keys of a shard in a cluster.
    fn of_shard(shard: u16, choices: &Choices) -> Self {
        let names = Choice::ALL.map(|choice| choices.name(choice).to_string());
        Self {
            shard: Some(shard),
            counts: names.each_ref().map(|name| count_key(Some(shard), name)),
            counters: names.each_ref().map(|name| counters_key(Some(shard), name)),
            ballots: format!("voting:{{{shard}}}:ballots:"),
            minutes: format!("voting:{{{shard}}}:minutes"),
            purged: format!("voting:{{{shard}}}:purged"),
        }
    }

    fn new(choices: &Choices) -> Self {
        let names = Choice::ALL.map(|choice| choices.name(choice).to_string());
        let home = names.iter().min().map(String::as_str).unwrap_or_default();
        Self {
            shard: None,
            ballots: format!("voting:{{{home}}}:ballots:"),
            minutes: format!("voting:{{{home}}}:minutes"),
            purged: format!("voting:{{{home}}}:purged"),
            counters: names.each_ref().map(|name| counters_key(None, name)),
            counts: names.each_ref().map(|name| count_key(None, name)),
        }
    }

    /// The name of the choice with these counters.
    fn choice_of<'k>(&self, counters: &'k str) -> Option<&'k str> {
        // The pattern of its key has the name in one place.
        let pattern = counters_key(self.shard, "*");
        let (before, after) = pattern.split_once('*')?;
        counters.strip_prefix(before)?.strip_suffix(after)
    }

    /// The set of the ids of the ballots created in this minute since the Unix epoch.
    fn ballots_of(&self, minute: u64) -> String {
        format!("{}{minute}", self.ballots)
    }
}

/// The count of a choice, here or in a shard of a cluster.
fn count_key(shard: Option<u16>, name: &str) -> String {
    shard.map_or_else(|| name.to_owned(), |shard| format!("voting:{{{shard}}}:count:{name}"))
}

/// The hash with its counters.
fn counters_key(shard: Option<u16>, name: &str) -> String {
    shard.map_or_else(
        || format!("voting:{{{name}}}:counters"),
        |shard| format!("voting:{{{shard}}}:counters:{name}"),
    )
}

impl Backend {
    pub(crate) fn new(
        address: &StoreAddress,
        choices: &Choices,
        timeouts: Timeouts,
    ) -> Result<Self, StoreError> {
        let connector = Connector::single(address, timeouts)?.into();
        Ok(Self { connector, keys: Keys::new(choices), allows_eviction: address.allows_eviction() })
    }

    /// A shard of a poll in a Redis Cluster.
    pub(crate) fn cluster_shard(
        address: &StoreAddress,
        shard: u16,
        choices: &Choices,
        timeouts: Timeouts,
    ) -> Result<Self, StoreError> {
        let (connector, keys) =
            (Connector::cluster(address, timeouts)?.into(), Keys::of_shard(shard, choices));
        Ok(Self { connector, keys, allows_eviction: address.allows_eviction() })
    }
}

#[async_trait]
impl backend::Backend for Backend {
    type Session = Session;

    const KIND: StoreKind = StoreKind::Redis;
    // While Redis writes one batch to the disk, the next one is in flight. A third gained nothing (docs/benchmarks.md).
    const CAST_CONNECTIONS: u8 = 2;
    // With 32 voters two batches are faster, with 256 one large batch is (docs/benchmarks.md).
    const PARALLEL_BELOW: usize = 24;

    async fn connect(&self) -> Result<Session, StoreError> {
        let (connection, login) = self.connector.connect().await?;
        Ok(Session {
            connector: self.connector.clone(),
            connection,
            login,
            keys: self.keys.clone(),
            allows_eviction: self.allows_eviction,
            clock: ServerClock::default(),
            max_memory_percent: None,
            is_replica: false,
            lacks_counts: false,
            is_adopted: false,
            history: None,
            place: None,
            expected_place: None,
            cast: Script::new(concat!(
                include_str!("redis/limit.lua"),
                include_str!("redis/write.lua"),
                include_str!("redis/cast.lua")
            )),
            counters: Script::new(concat!(
                include_str!("redis/limit.lua"),
                include_str!("redis/write.lua"),
                include_str!("redis/counters.lua")
            )),
        })
    }
}

/// One connection.
pub(crate) struct Session {
    connector: Arc<Connector>,
    connection: Connection,
    login: Login,
    keys: Keys,
    allows_eviction: bool,
    clock: ServerClock,
    /// The percentage of `maxmemory` above which no ballot may be counted.
    max_memory_percent: Option<u8>,
    /// Whether the server answered that it is a replica.
    is_replica: bool,
    /// Whether a choice had no votes when the results were last read.
    lacks_counts: bool,
    /// Whether the store is known to have an origin.
    is_adopted: bool,
    /// The id of the data's history, if the server tells it.
    history: Option<String>,
    /// The place in a sharded poll that the store keeps.
    place: Option<Place>,
    /// The place that the store is to keep.
    expected_place: Option<Place>,
    cast: Script,
    counters: Script,
}

impl Session {
    /// An instant by the server's clock, in milliseconds since the Unix epoch.
    fn server_millis(&self, instant: Instant) -> u64 {
        u64::try_from(self.clock.at(instant).as_millis()).unwrap_or(u64::MAX)
    }

    /// Runs the script for ballots, which are sorted by id. Returns for each ballot why it is not new, or `None`.
    async fn ballots(
        &mut self,
        action: &str,
        ballots: &[Ballot],
        until: Instant,
    ) -> Result<Vec<Option<Cast>>, StoreError> {
        let minute = |ballot: &Ballot| ballot.id.created_at().as_secs() / 60;
        let mut call = self.cast.prepare_invoke();
        call.key(&self.keys.counts).key(&self.keys.minutes).key(&self.keys.purged);
        call.arg(action).arg(self.server_millis(until)).arg(self.max_memory_percent.unwrap_or_default());
        // Sorted by id, ballots are sorted by minute.
        for same_minute in ballots.chunk_by(|a, b| minute(a) == minute(b)) {
            let minute = minute(&same_minute[0]);
            call.key(self.keys.ballots_of(minute)).arg(minute);
            let digit = |ballot: &Ballot| [b'1', b'2'][ballot.choice.index()];
            call.arg(same_minute.iter().map(digit).collect::<Vec<_>>());
            for ballot in same_minute {
                call.arg(ballot.id.as_bytes());
            }
        }
        let unchanged: Vec<i64> = call.invoke_async(&mut self.connection).await.map_err(|error| {
            self.is_replica |= error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
            answering(error)
        })?;
        let mut casts = vec![None; ballots.len()];
        for place in unchanged {
            // Lua counts from one.
            let index = usize::try_from(place.unsigned_abs()).ok().and_then(|place| place.checked_sub(1));
            let Some(cast) = index.and_then(|index| casts.get_mut(index)) else {
                return Err(StoreError::unconfirmed("the answer does not match the request"));
            };
            *cast = Some(if place > 0 { Cast::AlreadyCounted } else { Cast::Expired });
        }
        Ok(casts)
    }

    /// Gives the store an origin, if it has none and accepts writes. Once per connection, before its first write: a store
    /// that is full or read-only by the time it is exported has its origin by then.
    async fn adopt(&mut self) {
        if !self.is_adopted {
            // A failure shows in the write that follows.
            let adopted = adopt(&mut self.connection, &self.keys, "if-missing", self.expected_place).await;
            self.note_adoption(&adopted);
        }
    }

    fn note_adoption(&mut self, adopted: &Result<Option<Place>, RedisError>) {
        self.is_adopted = adopted.is_ok();
        if let Ok(place) = adopted {
            self.place = *place;
        }
    }

    fn note_inspection(&mut self, inspection: &Inspection) {
        self.clock = inspection.clock;
        self.max_memory_percent = inspection.memory_limit_percent().filter(|_| !self.allows_eviction);
        self.place = inspection.place;
        // The server was a replica meanwhile, and may have lost votes of its origin.
        self.is_adopted &= self.history == inspection.history;
        self.history.clone_from(&inspection.history);
    }

    /// The origin in the store, if it belongs to this server.
    async fn own_origin(&mut self) -> Result<Option<Origin>, StoreError> {
        let script = Script::new(include_str!("redis/origin.lua"));
        let call = script.key(&self.keys.counters[0]);
        let own: String = call.invoke_async(&mut self.connection).await.map_err(reading)?;
        Ok(Origin::parse(&own))
    }

    /// Reads all counters, after merging some or after a reset (`action`).
    async fn counters(
        &mut self,
        action: &str,
        merge: &Snapshot,
        until: Instant,
    ) -> Result<Snapshot, StoreError> {
        let deadline = self.server_millis(until);
        let mut call = self.counters.prepare_invoke();
        call.key(&self.keys.counts).key(&self.keys.counters).arg(deadline).arg(action);
        for choice in Choice::ALL {
            for (origin, counter) in merge.counters(choice) {
                call.arg(choice.index() + 1)
                    .arg(origin.to_string())
                    .arg(counter.votes)
                    .arg(counter.reset_votes);
            }
        }
        let answer: Vec<String> = call.invoke_async(&mut self.connection).await.map_err(answering)?;
        let mut snapshot = Snapshot::default();
        for counter in answer.chunks_exact(4) {
            let choice = if counter[0] == "1" { Choice::First } else { Choice::Second };
            let (Some(origin), Ok(votes), Ok(reset_votes)) =
                (Origin::parse(&counter[1]), counter[2].parse(), counter[3].parse())
            else {
                return Err(StoreError::unusable("its counters are malformed"));
            };
            snapshot.merge_counter(choice, origin, Counter { votes, reset_votes });
        }
        Ok(snapshot)
    }
}

/// Gives the store an origin: another one (`renew`), or one if it has none (`if-missing`); and a place, if it keeps none.
/// Returns the place that it keeps.
async fn adopt(
    connection: &mut Connection,
    keys: &Keys,
    action: &str,
    place: Option<Place>,
) -> Result<Option<Place>, RedisError> {
    let script = Script::new(concat!(include_str!("redis/limit.lua"), include_str!("redis/adopt.lua")));
    let mut call = script.key(&keys.counts);
    let place = place.map(Place::to_numbers).map(|[number, of]| format!("{number}/{of}")).unwrap_or_default();
    call.key(&keys.counters).arg(Origin::new().to_string()).arg(action).arg(place);
    let kept: String = call.invoke_async(connection).await?;
    Ok(place_of(&kept))
}

/// The place that a store keeps as `NUMBER/OF`.
fn place_of(text: &str) -> Option<Place> {
    let (number, of) = text.split_once('/')?;
    Some(Place::from_numbers([number.parse().ok()?, of.parse().ok()?]))
}

#[async_trait]
impl backend::Session for Session {
    async fn cast(&mut self, ballots: &[Ballot], until: Instant) -> Result<Vec<Cast>, StoreError> {
        let unchanged = if self.is_adopted {
            self.ballots("cast", ballots, until).await?
        } else {
            // Both are sent at once: with a slow server there is no time for one after the other.
            let (mut connection, keys) = (self.connection.clone(), self.keys.clone());
            let adopt = adopt(&mut connection, &keys, "if-missing", self.expected_place);
            let (adopted, unchanged) = join(adopt, self.ballots("cast", ballots, until)).await;
            self.note_adoption(&adopted);
            unchanged?
        };
        Ok(unchanged.into_iter().map(|cast| cast.unwrap_or(Cast::Counted)).collect())
    }

    async fn probe(&mut self, ballots: &[Ballot], until: Instant) -> Result<(), StoreError> {
        self.adopt().await;
        let script = Script::new(concat!(include_str!("redis/limit.lua"), include_str!("redis/probe.lua")));
        // The server may know the scripts already, and forget them with a restart.
        script.load_async(&mut self.connection).await.map_err(answering)?;
        let mut call = script.key(&self.keys.counts);
        let call = call.key(format!("{}probe", self.keys.ballots));
        call.invoke_async::<()>(&mut self.connection).await.map_err(answering)?;
        self.ballots("find", ballots, until).await.map(drop)
    }

    async fn find(&mut self, ballots: &[Ballot]) -> Result<Found, StoreError> {
        let casts = self.ballots("find", ballots, Instant::now()).await?;
        Ok(Found { casts, is_current: !self.is_replica })
    }

    async fn inspect(&mut self) -> Result<Vec<Finding>, StoreError> {
        let inspection =
            Inspection::run(&mut self.connection, &self.keys.counters[0]).await.map_err(connecting)?;
        self.note_inspection(&inspection);
        Ok(inspection.findings(self.allows_eviction))
    }

    fn may_renew_login(&self) -> bool {
        self.login.is_some()
    }

    async fn renew_login(&mut self) -> bool {
        self.connector.renew(&mut self.connection, &mut self.login).await
    }

    async fn is_alive(&mut self) -> bool {
        // An inspection also notices other data.
        let inspection = Inspection::run(&mut self.connection, &self.keys.counters[0]).await;
        inspection.map(|inspection| self.note_inspection(&inspection)).is_ok()
    }

    async fn tally(&mut self) -> Result<Tally, StoreError> {
        // MGET takes a key of another type for an absent one, and GET does not: where a choice had no votes, both are read
        // with GET, in one round trip.
        let mut counts: Option<[Option<Vec<u8>>; 2]> = None;
        if self.lacks_counts {
            let mut gets = redis::pipe();
            for key in &self.keys.counts {
                gets.cmd("GET").arg(key);
            }
            counts = match gets.query_async(&mut self.connection).await {
                Ok(counts) => Some(counts),
                Err(error) if error.code() == Some("WRONGTYPE") => None,
                Err(error) => return Err(reading(error)),
            };
        }
        let is_absent = counts.is_some();
        let counts = match counts {
            Some(counts) => counts,
            None => redis::cmd("MGET")
                .arg(&self.keys.counts)
                .query_async(&mut self.connection)
                .await
                .map_err(reading)?,
        };
        self.lacks_counts = counts.iter().any(Option::is_none);
        let mut tally = [0; 2];
        for ((key, count), votes) in self.keys.counts.iter().zip(counts).zip(&mut tally) {
            let invalid = |cause: &dyn fmt::Display| {
                StoreError::unusable(format!(
                    "the key {key} holds no count ({cause}); allowed: a whole number"
                ))
            };
            let count = match count {
                Some(count) => count,
                None if is_absent => b"0".to_vec(),
                None => {
                    let get: Result<Option<Vec<u8>>, _> =
                        redis::cmd("GET").arg(key).query_async(&mut self.connection).await;
                    get.map_err(|error| match error.code() {
                        Some("WRONGTYPE") => invalid(&error),
                        _ => reading(error),
                    })?
                    .unwrap_or_else(|| b"0".to_vec())
                }
            };
            let count = str::from_utf8(&count).ok().and_then(|count| count.parse::<i64>().ok());
            let count = count.ok_or_else(|| invalid(&"but a text"))?;
            // Another client may have decremented a count below zero.
            *votes = u64::try_from(count).unwrap_or_default();
        }
        let [first, second] = tally;
        Ok(Tally::new(first, second))
    }

    async fn other_votes(&mut self) -> Result<OtherVotes, StoreError> {
        let script = Script::new(include_str!("redis/choices.lua"));
        let (mut votes, mut cursor) = (OtherVotes::default(), "0".to_owned());
        loop {
            let mut call = script.key(&self.keys.counts[0]);
            call.arg(&cursor).arg(counters_key(self.keys.shard, "*"));
            let answer: Vec<Vec<u8>> = call.invoke_async(&mut self.connection).await.map_err(reading)?;
            // Keys that are no text are not ours.
            let mut answer = answer.into_iter().filter_map(|key| String::from_utf8(key).ok());
            cursor = answer.next().unwrap_or_default();
            for key in answer {
                let Some(name) = self.keys.choice_of(&key) else { continue };
                let count = count_key(self.keys.shard, name);
                if self.keys.counts.contains(&count) {
                    continue;
                }
                let count: Option<String> =
                    redis::cmd("GET").arg(&count).query_async(&mut self.connection).await.map_err(reading)?;
                // A text that is no number is no count.
                let count: u64 = count.and_then(|count| count.parse().ok()).unwrap_or_default();
                if count > 0 {
                    votes.0.insert(name.to_owned(), count);
                }
            }
            if cursor == "0" {
                return Ok(votes);
            }
        }
    }

    async fn reset(&mut self, until: Instant) -> Result<(), StoreError> {
        self.adopt().await;
        let snapshot = self.counters("reset", &Snapshot::default(), until).await?;
        // Counters keep their votes. One that is full would refuse each further vote, so later votes get another origin.
        let is_full = |counter: &Counter| counter.votes > Counter::MAX_VOTES / 2;
        if Choice::ALL.into_iter().any(|choice| snapshot.counters(choice).values().any(is_full)) {
            adopt(&mut self.connection, &self.keys, "renew", None).await.map_err(answering)?;
        }
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Snapshot, StoreError> {
        const NO_LIMIT: Duration = Duration::from_secs(60);
        let read = self.counters("read", &Snapshot::default(), Instant::now() + NO_LIMIT).await;
        match read {
            // Votes of azure-vote that were never exported: they need an origin before they can be merged elsewhere.
            Err(StoreError::Unusable(cause)) if cause.contains("NOORIGIN") => {
                self.adopt().await;
                self.counters("read", &Snapshot::default(), Instant::now() + NO_LIMIT).await
            }
            read => read,
        }
    }

    async fn merge(&mut self, snapshot: &Snapshot, until: Instant) -> Result<(), StoreError> {
        self.adopt().await;
        self.counters("merge", snapshot, until).await.map(drop)
    }

    async fn identity(&mut self) -> Result<Option<Origin>, StoreError> {
        self.adopt().await;
        self.own_origin().await
    }

    async fn origin(&mut self) -> Result<Option<Origin>, StoreError> {
        self.own_origin().await
    }

    async fn renew_origin(&mut self) -> Result<(), StoreError> {
        adopt(&mut self.connection, &self.keys, "renew", None).await.map(drop).map_err(answering)
    }

    fn place(&self) -> Option<Place> {
        self.place
    }

    fn expect_place(&mut self, place: Place) {
        self.expected_place = Some(place);
    }

    async fn keep_place(&mut self, place: Place) -> Result<Place, StoreError> {
        let kept = match self.place {
            Some(kept) => Some(kept),
            None => {
                adopt(&mut self.connection, &self.keys, "if-missing", Some(place)).await.map_err(answering)?
            }
        };
        kept.ok_or_else(|| StoreError::unusable("it keeps no place in a sharded poll"))
    }

    async fn purge_times(&mut self) -> Result<PurgeTimes, StoreError> {
        let inspection =
            Inspection::run(&mut self.connection, &self.keys.counters[0]).await.map_err(connecting)?;
        let mut newest = redis::cmd("ZRANGE");
        newest.arg(&self.keys.minutes).arg(-1).arg(-1);
        let newest: Vec<u64> = newest.query_async(&mut self.connection).await.map_err(reading)?;
        let newest_ballot = newest.first().map(|minute| Duration::from_secs(minute * 60));
        Ok(PurgeTimes { server: Some(inspection.time), newest_ballot })
    }

    async fn purge_expired(&mut self, created_before: Duration) -> Result<bool, StoreError> {
        const LIMIT: usize = 100;
        // The minute in which `created_before` lies is not over.
        let Some(last) = (created_before.as_secs() / 60).checked_sub(1) else { return Ok(false) };
        let mut expired = redis::cmd("ZRANGEBYSCORE");
        expired.arg(&self.keys.minutes).arg("-inf").arg(last).arg("LIMIT").arg(0).arg(LIMIT);
        let expired: Vec<u64> = expired.query_async(&mut self.connection).await.map_err(reading)?;
        let purge = Script::new(include_str!("redis/purge.lua"));
        let mut call = purge.key(&self.keys.minutes);
        call.key(&self.keys.purged);
        for &minute in &expired {
            call.key(self.keys.ballots_of(minute)).arg(minute);
        }
        call.invoke_async::<()>(&mut self.connection).await.map_err(answering)?;
        Ok(expired.len() == LIMIT)
    }
}
