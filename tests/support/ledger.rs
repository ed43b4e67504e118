//! The vote ledger: a bounded load of real votes that knows of each ballot what the voter was told, and checks it.
//!
//! First the load: voters cast ballots and now and then read the page. Then the audit: every ballot is cast once more,
//! and the answer says whether it had been counted. So each single ballot is accounted for, not only their sum.
//! Nobody else may vote meanwhile.

mod client;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use voting_core::{BallotId, Choice};

pub use client::{Client, Counts, Outcome};
pub use report::Report;

/// What is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The page, without a slash at the end.
    pub url: String,
    /// The results, without a slash at the end; `None` reads them off the page.
    pub analytics_url: Option<String>,
    /// The names of the choices.
    pub choices: [String; 2],
    /// How many vote at the same time.
    pub voters: usize,
    /// How many ballots are cast.
    pub ballots: u64,
    /// Whether a ballot that was not accepted is sent again, as a browser or a mesh would.
    pub retry: bool,
    /// How long a voter waits between two ballots.
    pub pause: Duration,
}

/// What the voter was told about a ballot, in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Told {
    /// It is counted.
    Accepted,
    /// It is not counted and will not be.
    Refused,
    /// Nothing, or that the outcome is open.
    Unknown,
}

/// A ballot that was cast.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: BallotId,
    choice: Choice,
    told: Told,
}

/// How far a load is; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    begun: AtomicU64,
    cast: AtomicU64,
    audited: AtomicU64,
    accepted: [AtomicU64; 2],
}

impl Progress {
    /// Ballots whose outcome is settled.
    pub fn cast(&self) -> u64 {
        self.0.cast.load(Ordering::Relaxed)
    }

    /// Ballots that were cast again.
    pub fn audited(&self) -> u64 {
        self.0.audited.load(Ordering::Relaxed)
    }

    /// Ends the load early; the audit follows.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    fn accepted(&self) -> Counts {
        self.0.accepted.each_ref().map(|accepted| accepted.load(Ordering::SeqCst))
    }
}

/// One voter's part of the load.
#[derive(Default)]
struct Part {
    entries: Vec<Entry>,
    errors: BTreeMap<String, u64>,
    latencies: Vec<Duration>,
    reads: u64,
    stale_reads: u64,
}

/// For how long a voter who retries does.
const PATIENCE: Duration = Duration::from_secs(60);
/// A read of the page follows each of these ballots.
const READ_EVERY: usize = 5;

/// Casts the ballots and audits them.
///
/// # Errors
/// The results can't be read before or after the load, or a ballot can't be cast again.
pub async fn run(plan: &Plan, progress: &Progress) -> anyhow::Result<Report> {
    let client = Arc::new(Client::new(plan)?);
    let before = client.settled_counts(PATIENCE).await?;
    let start = Instant::now();
    let mut voters = JoinSet::new();
    for _ in 0..plan.voters {
        voters.spawn(vote(client.clone(), plan.clone(), progress.clone(), before));
    }
    let parts = voters.join_all().await;
    let took = start.elapsed();

    let counted = client.settled_counts(PATIENCE).await?;
    let entries: Vec<_> = parts.iter().flat_map(|part| part.entries.iter().copied()).collect();
    let audited = audit(&client, &entries, plan.voters, progress).await?;
    let after = client.settled_counts(PATIENCE).await?;

    let mut latencies = Histogram::<u64>::new(3)?;
    let mut report = Report::new(&audited, before, counted, after, took);
    for part in parts {
        for latency in part.latencies {
            latencies.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX))?;
        }
        for (error, count) in part.errors {
            *report.errors.entry(error).or_default() += count;
        }
        report.reads += part.reads;
        report.stale_reads += part.stale_reads;
    }
    report.latencies = latencies;
    Ok(report)
}

async fn vote(client: Arc<Client>, plan: Plan, progress: Progress, before: Counts) -> Part {
    let mut part = Part::default();
    while !progress.0.stop.load(Ordering::Relaxed) {
        let number = progress.0.begun.fetch_add(1, Ordering::Relaxed);
        if number >= plan.ballots {
            break;
        }
        // Two thirds for the first, so that a mix-up of the choices shows.
        let choice = if number % 3 == 2 { Choice::Second } else { Choice::First };
        let entry = cast(&client, choice, plan.retry, &mut part).await;
        if entry.told == Told::Accepted {
            progress.0.accepted[choice.index()].fetch_add(1, Ordering::SeqCst);
        }
        progress.0.cast.fetch_add(1, Ordering::Relaxed);
        part.entries.push(entry);
        if part.entries.len() % READ_EVERY == 0 {
            // Everything that was accepted before this read must show in it, whoever cast it.
            let accepted = progress.accepted();
            if let Ok(seen) = client.counts().await {
                part.reads += 1;
                let is_stale = (0..2).any(|choice| seen[choice] < before[choice] + accepted[choice]);
                part.stale_reads += u64::from(is_stale);
            } else {
                *part.errors.entry("no results on the page".to_owned()).or_default() += 1;
            }
        }
        tokio::time::sleep(plan.pause).await;
    }
    part
}

/// Casts one new ballot, again if it has to be, and says what the voter was told in the end.
async fn cast(client: &Client, choice: Choice, retry: bool, part: &mut Part) -> Entry {
    let id = BallotId::new();
    let start = Instant::now();
    let mut told = Told::Refused;
    loop {
        let attempt = Instant::now();
        match client.cast(id, choice).await {
            Outcome::Counted | Outcome::AlreadyCounted => {
                part.latencies.push(attempt.elapsed());
                return Entry { id, choice, told: Told::Accepted };
            }
            Outcome::Refused(why) => *part.errors.entry(why).or_default() += 1,
            Outcome::Unknown(why) => {
                told = Told::Unknown;
                *part.errors.entry(why).or_default() += 1;
            }
        }
        if !retry || start.elapsed() > PATIENCE {
            return Entry { id, choice, told };
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A ballot, and whether it had been counted when it was cast again.
#[derive(Clone, Copy, Debug)]
struct Audited {
    told: Told,
    choice: Choice,
    was_counted: bool,
}

async fn audit(
    client: &Arc<Client>,
    entries: &[Entry],
    voters: usize,
    progress: &Progress,
) -> anyhow::Result<Vec<Audited>> {
    let mut auditors = JoinSet::new();
    for share in entries.chunks(entries.len().div_ceil(voters).max(1)) {
        let (share, client, progress) = (share.to_vec(), client.clone(), progress.clone());
        auditors.spawn(async move {
            let mut audited = Vec::with_capacity(share.len());
            for Entry { id, choice, told } in share {
                let was_counted = match client.cast(id, choice).await {
                    Outcome::Counted => false,
                    Outcome::AlreadyCounted => true,
                    Outcome::Refused(why) | Outcome::Unknown(why) => {
                        anyhow::bail!(
                            "the audit needs a service that works; a ballot was answered with: {why}"
                        )
                    }
                };
                progress.0.audited.fetch_add(1, Ordering::Relaxed);
                audited.push(Audited { told, choice, was_counted });
            }
            Ok(audited)
        });
    }
    let mut audited = Vec::with_capacity(entries.len());
    while let Some(share) = auditors.join_next().await {
        audited.extend(share??);
    }
    Ok(audited)
}
