//! Representations of ballot ids in Redis: what an id costs, and how long a batch of votes keeps Redis busy.

use std::fmt::Write as _;

use anyhow::Context as _;
use indicatif::ProgressBar;
use redis::Script;
use redis::aio::MultiplexedConnection;
use voting_core::BallotId;
use voting_tests::servers::Redis;

/// Each set has the ids of a minute.
const MINUTES: usize = 60;
const IDS_OF_MINUTE: usize = 16_384;
/// Ids in a batch.
const BATCH: usize = 64;

/// The one command per batch that voting-storage uses.
const SET: &str = "
    local known = redis.call('SMISMEMBER', KEYS[1], unpack(ARGV))
    redis.call('SADD', KEYS[1], unpack(ARGV))
    return known";

/// Hashes of few ids, which Redis keeps as listpacks. Their number is that of the ids of a minute by 64, which
/// voting-storage could not know in advance.
const HASHES: &str = "
    local known = {}
    for i, id in ipairs(ARGV) do
      local key = KEYS[1] .. ':' .. string.byte(id, -1)
      known[i] = redis.call('HEXISTS', key, id)
      redis.call('HSET', key, id, '')
    end
    return known";

struct Representation {
    name: &'static str,
    script: &'static str,
    /// The first bytes of an id that are left out. Four of its time follow from the minute.
    from: usize,
}

const REPRESENTATIONS: [Representation; 4] = [
    Representation { name: "a set of the ids of a minute, as voting-storage has it", script: SET, from: 0 },
    Representation { name: "the same without the 4 bytes that follow from the minute", script: SET, from: 4 },
    Representation { name: "256 hashes for a minute", script: HASHES, from: 0 },
    Representation { name: "256 hashes for a minute, without these 4 bytes", script: HASHES, from: 4 },
];

/// Measures each representation. Returns the table in Markdown.
pub async fn measure(bar: &ProgressBar) -> anyhow::Result<String> {
    let mut text = format!(
        "\n{MINUTES} minutes of {IDS_OF_MINUTE} ids each; a batch looks up and adds {BATCH} ids, without the way to Redis and the disk.\n\n\
         | ids in Redis | bytes for each | time of a batch |\n|---|---|---|\n"
    );
    for representation in REPRESENTATIONS {
        bar.set_message(format!("ids: {}", representation.name));
        let (bytes, micros) = representation.measure().await?;
        let _ = writeln!(text, "| {} | {bytes:.0} | {micros:.0} µs |", representation.name);
    }
    Ok(text)
}

impl Representation {
    /// Bytes for each id, and microseconds for a batch.
    async fn measure(&self) -> anyhow::Result<(f64, f64)> {
        let redis = Redis::with(&["--save", ""]).await;
        let client = redis::Client::open(redis.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let script = Script::new(self.script);
        let before = used_memory(&mut connection).await?;
        for minute in 0..MINUTES {
            for _ in 0..IDS_OF_MINUTE / BATCH {
                let mut call = script.key(format!("voting:{{Cats}}:ballots:{minute}"));
                for _ in 0..BATCH {
                    call.arg(&BallotId::new().as_bytes()[self.from..]);
                }
                call.invoke_async::<Vec<u64>>(&mut connection).await?;
            }
        }
        let bytes = (used_memory(&mut connection).await? - before) / (MINUTES * IDS_OF_MINUTE) as f64;
        let statistics = info(&mut connection, "commandstats").await?;
        let calls =
            statistics.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).context("no calls")?;
        let micros =
            calls.split(',').find_map(|field| field.strip_prefix("usec_per_call=")).context("no time")?;
        Ok((bytes, micros.parse()?))
    }
}

async fn info(connection: &mut MultiplexedConnection, section: &str) -> anyhow::Result<String> {
    Ok(redis::cmd("INFO").arg(section).query_async(connection).await?)
}

async fn used_memory(connection: &mut MultiplexedConnection) -> anyhow::Result<f64> {
    let memory = info(connection, "memory").await?;
    let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:")).context("no used_memory")?;
    Ok(used.trim().parse()?)
}
