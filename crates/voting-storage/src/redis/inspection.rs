//! Inspects a Redis server: its clock, and the settings by which it may forget votes or ballot ids.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join;
use redis::{RedisError, Script};

use super::connection::Connection;
use super::place_of;
use crate::backend::ServerClock;
use crate::place::Place;
use crate::store::{Finding, Severity};

/// With a policy that evicts any key, ballots are counted up to this percentage of `maxmemory`. Redis evicts before any
/// command, once the rest is exceeded, by buffers of connections or by a set of ids: the hash table of a growing set doubles
/// at once, which takes up to 16 bytes an id where the id and its share of the table take 29 or more (48 + 8 in Redis 7).
const MAX_PERCENT: u8 = 60;

/// The state of a server.
pub(super) struct Inspection {
    pub(super) clock: ServerClock,
    pub(super) time: Duration,
    memory: String,
    stats: String,
    persistence: String,
    /// The id of the data's history, which changes when a replica is promoted.
    pub(super) history: Option<String>,
    /// The place in a sharded poll that the store keeps.
    pub(super) place: Option<Place>,
    /// Unknown where `CONFIG GET` is forbidden, as in most managed services.
    appendfsync: Option<String>,
}

impl Inspection {
    /// Inspects the server that holds this hash of counters.
    pub(super) async fn run(connection: &mut Connection, key: &str) -> Result<Self, RedisError> {
        type Answer = ((u64, u64), String, String, String, String, String);
        let script = Script::new(include_str!("inspect.lua"));
        let script = script.key(key);
        // A script may not use this command. Both are sent at once: a connection to a slow server has no time for two.
        let mut config = redis::cmd("CONFIG");
        config.arg("GET").arg("appendfsync");
        let other = &mut connection.clone();
        let (answer, setting) = join(script.invoke_async(connection), config.query_async(other)).await;
        let ((seconds, micros), memory, stats, persistence, replication, place): Answer = answer?;
        let history = field(&replication, "master_replid").map(ToOwned::to_owned);
        let time = Duration::from_secs(seconds) + Duration::from_micros(micros);
        let clock = ServerClock::measured(time);
        let appendfsync = setting.ok().and_then(|mut all: HashMap<String, String>| all.remove("appendfsync"));
        let place = place_of(&place);
        Ok(Self { clock, time, memory, stats, persistence, history, place, appendfsync })
    }

    /// The percentage of `maxmemory` above which no ballot may be counted, because the server would evict ids or counts
    /// without notice. Policies that evict only keys with an expiry evict none of ours: they have none.
    pub(super) fn memory_limit_percent(&self) -> Option<u8> {
        self.policy().is_some_and(|policy| policy.starts_with("allkeys")).then_some(MAX_PERCENT)
    }

    pub(super) fn findings(&self, allows_eviction: bool) -> Vec<Finding> {
        let clock = Finding::of_clock("the clock of Redis", self.time);
        clock.into_iter().chain(self.eviction(allows_eviction)).chain(self.durability()).collect()
    }

    fn eviction(&self, is_allowed: bool) -> Option<Finding> {
        const ALLOWED: &str = "allowed: maxmemory-policy noeviction or volatile-*";
        let finding = |severity, text| Some(Finding { subject: "eviction", severity, text });
        let Some(policy) = self.policy() else {
            let text = format!("Redis does not permit INFO, so its maxmemory-policy is unknown; {ALLOWED}");
            return finding(Severity::Warning, text);
        };
        self.memory_limit_percent()?;
        if is_allowed {
            let text = format!(
                "maxmemory-policy is {policy} and REDIS_ALLOW_EVICTION is true: votes may be lost and ballots may count twice"
            );
            return finding(Severity::Warning, text);
        }
        let [limit, used] = ["maxmemory", "used_memory"].map(|name| number(&self.memory, name));
        let evicted = number(&self.stats, "evicted_keys");
        let is_full = limit > 0 && used.saturating_mul(100) > limit.saturating_mul(MAX_PERCENT.into());
        let consequence = if evicted > 0 {
            format!("{evicted} keys were evicted, maybe ballot ids, so no ballots are taken")
        } else if is_full {
            format!("{used} of {limit} bytes are used and ballot ids may be evicted, so no ballots are taken")
        } else {
            format!(
                "no ballots will be taken once {MAX_PERCENT}% of maxmemory are used, lest ballot ids be evicted"
            )
        };
        let severity = if evicted > 0 || is_full { Severity::Refusal } else { Severity::Warning };
        let text =
            format!("maxmemory-policy is {policy}: {consequence}; {ALLOWED}, or REDIS_ALLOW_EVICTION=true");
        finding(severity, text)
    }

    fn durability(&self) -> Option<Finding> {
        let weakness = if field(&self.persistence, "aof_enabled")? == "0" {
            "the append-only file of Redis is off, so its restart may lose acknowledged votes".to_owned()
        } else {
            let appendfsync = self.appendfsync.as_deref().filter(|setting| *setting != "always")?;
            format!(
                "appendfsync is {appendfsync}, so a crash of the machine may lose the newest acknowledged votes"
            )
        };
        Some(Finding::of_durability(&weakness, "appendonly yes, appendfsync always"))
    }

    fn policy(&self) -> Option<&str> {
        field(&self.memory, "maxmemory_policy")
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}

fn number(info: &str, name: &str) -> u64 {
    field(info, name).and_then(|value| value.parse().ok()).unwrap_or_default()
}
