//! `--nemesis`: random schedules of faults, each in a cluster of its own, and the shortest part of one that fails.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use tokio::task::JoinSet;
use voting_config::number;
use voting_tests::faults::{ClusterRelease, Schedule};

/// Random schedules of faults.
#[derive(Args, Clone, Debug)]
pub struct NemesisArgs {
    /// Run random schedules of overlapping faults, each in a temporary cluster of the real programs under voters who retry.
    /// Those that break a guarantee are shrunk to the events that are needed.
    #[arg(long, conflicts_with_all = ["url", "analytics_url", "retry", "faults"])]
    pub nemesis: bool,

    /// Seed of the first schedule; the next ones count up from it [default: random].
    #[arg(long, value_name = "N", requires = "nemesis", value_parser = number(0..=u64::MAX))]
    seed: Option<u64>,

    /// Start schedules for this number of minutes.
    #[arg(long, value_name = "N", requires = "nemesis", conflicts_with = "schedules", value_parser = number::<u64>(1..=10_000))]
    minutes: Option<u64>,

    /// Run this number of schedules [default: 12].
    #[arg(long, value_name = "N", requires = "nemesis", value_parser = number(1..=u64::MAX))]
    schedules: Option<u64>,

    /// Run the schedules on this store [default: the seed decides].
    #[arg(long, value_name = "STORE", requires = "nemesis")]
    store: Option<StoreName>,

    /// Run only these events of the schedules, such as 0,2.
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "nemesis", value_parser = number::<usize>(0..=1000))]
    events: Option<Vec<usize>>,

    /// Number of schedules that run at the same time.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = number::<u16>(1..=64), requires = "nemesis")]
    jobs: u16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StoreName {
    Redis,
    Mysql,
    Sqlite,
    /// A Redis that keeps nothing on disk, so that votes are lost: shows that the ledger finds them.
    VolatileRedis,
}

impl StoreName {
    fn release(self) -> ClusterRelease {
        match self {
            Self::Redis => ClusterRelease::One,
            Self::Mysql => ClusterRelease::Two,
            Self::Sqlite => ClusterRelease::Embedded,
            Self::VolatileRedis => ClusterRelease::Volatile,
        }
    }

    /// The value of `--store` for a cluster.
    fn with(release: ClusterRelease) -> String {
        let store = Self::value_variants().iter().find(|store| store.release() == release);
        store.and_then(Self::to_possible_value).map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn of(seed: u64) -> Self {
        match seed % 3 {
            0 => Self::Redis,
            1 => Self::Mysql,
            _ => Self::Sqlite,
        }
    }
}

/// Failing schedules that are shrunk.
const SHRUNK: usize = 3;

/// Runs the schedules; returns whether every guarantee held.
pub async fn run(arguments: &NemesisArgs) -> anyhow::Result<bool> {
    let first = arguments.seed.unwrap_or_else(|| {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        since.as_secs() * 1000
    });
    let start = Instant::now();
    let until = arguments.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let count = match until {
        Some(_) => u64::MAX,
        None => arguments.schedules.unwrap_or(12),
    };
    println!("Random schedules from seed {first}");
    let mut seeds = (first..first.saturating_add(count))
        .take_while(|_| until.is_none_or(|until| start.elapsed() < until))
        .map(|seed| (seed, schedule(arguments, seed)));
    let (mut running, mut schedules, mut events, mut ballots) = (JoinSet::new(), 0_u64, 0, 0);
    let (mut lost, mut doubled) = (0, 0);
    let mut failed: Vec<(u64, Schedule, String)> = Vec::new();
    loop {
        while running.len() < arguments.jobs.into()
            && let Some((seed, schedule)) = seeds.next()
        {
            running.spawn(async move { (seed, schedule.verdict().await, schedule) });
        }
        let Some(ended) = running.join_next().await else { break };
        let (seed, ended, schedule) = ended?;
        schedules += 1;
        events += schedule.events.len();
        ballots += ended.ballots;
        lost += ended.lost;
        doubled += ended.doubled;
        let verdict = ended.broken.as_deref().unwrap_or("ok");
        println!("seed {seed}, {schedule}: {} ballots, {verdict}", ended.ballots);
        if let Some(broken) = ended.broken {
            failed.push((seed, schedule, broken));
        }
    }
    println!(
        "\nTotal: {schedules} schedules, {events} faults, {ballots} ballots, lost {lost}, doubled {doubled}, {} schedules failed, \
         {:.0} s",
        failed.len(),
        start.elapsed().as_secs_f64()
    );
    for (seed, schedule, broken) in failed.iter().take(SHRUNK) {
        println!("\nSeed {seed} failed: {broken}");
        shorten(*seed, schedule).await;
    }
    Ok(failed.is_empty())
}

fn schedule(arguments: &NemesisArgs, seed: u64) -> Schedule {
    let store = arguments.store.unwrap_or_else(|| StoreName::of(seed));
    let mut schedule = Schedule::random(store.release(), seed);
    if let Some(places) = &arguments.events {
        schedule = schedule.part(places);
    }
    schedule
}

/// Prints the shortest part of a schedule that fails.
async fn shorten(seed: u64, schedule: &Schedule) {
    let Some(places) = schedule.shortest_failing().await else {
        println!("It did not fail again in two more runs.");
        return;
    };
    println!("Shortest failing schedule: {}", schedule.part(&places));
    let list: Vec<_> = places.iter().map(ToString::to_string).collect();
    let store = StoreName::with(schedule.release);
    println!(
        "cargo xtask ledger --nemesis --seed {seed} --schedules 1 --store {store} --events {}",
        list.join(",")
    );
}
