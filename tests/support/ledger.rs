//! The vote ledger: a bounded load of real votes that records the outcome of each ballot and verifies it.
//!
//! During the load, voters cast ballots and sometimes read the page. During the audit, every ballot is cast once more, and
//! the response says whether it had been counted. So each single ballot is accounted for, not only the sum. The poll must
//! have no other voters meanwhile.

mod client;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::{JoinHandle, JoinSet};
use voting_core::{BallotId, Choice};

pub use client::{CastOutcome, Client, VoteCounts};
pub use report::Report;

/// The parameters of a load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// URL of the page without a trailing slash.
    pub url: String,
    /// URL of voting-analytics without a trailing slash; `None` reads the results from the page.
    pub analytics_url: Option<String>,
    /// Cookies of the voters.
    pub cookies: Option<String>,
    /// Whether a voter keeps connections, as a browser does.
    pub keeps_connections: bool,
    /// Names of the choices.
    pub choices: [String; 2],
    /// Number of concurrent voters.
    pub voters: usize,
    /// Number of ballots.
    pub ballots: u64,
    /// Whether voters retry ballots that were not accepted, as a browser or a mesh would.
    pub retry: bool,
    /// Whether every fourth ballot has one attempt only: acceptance after a refusal does not show whether the refusal was
    /// true.
    pub leave_some: bool,
    /// Delay between two ballots of a voter.
    pub pause: Duration,
}

impl Plan {
    /// Voters in the default poll at this URL, who behave like browsers until the load is stopped.
    pub fn until_stopped(url: impl Into<String>, voters: usize, pause: Duration) -> Self {
        Self {
            url: url.into(),
            analytics_url: None,
            cookies: None,
            keeps_connections: true,
            choices: ["Cats".to_owned(), "Dogs".to_owned()],
            voters,
            ballots: u64::MAX,
            retry: true,
            leave_some: false,
            pause,
        }
    }

    /// [`run`] in a task of its own.
    pub fn start(self) -> (Progress, JoinHandle<anyhow::Result<Report>>) {
        let progress = Progress::default();
        let load = tokio::spawn({
            let progress = progress.clone();
            async move { run(&self, &progress).await }
        });
        (progress, load)
    }
}

/// The outcome of a ballot as the voter knows it after all attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BallotOutcome {
    /// Counted.
    Accepted,
    /// Not counted, and never will be.
    Refused,
    /// No response, or an unconfirmed outcome.
    Unknown,
}

/// A ballot and its outcome.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: BallotId,
    choice: Choice,
    outcome: BallotOutcome,
}

/// The progress of a load; clones share it.
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
    /// Number of ballots cast.
    pub fn cast(&self) -> u64 {
        self.0.cast.load(Ordering::Relaxed)
    }

    /// Number of ballots audited.
    pub fn audited(&self) -> u64 {
        self.0.audited.load(Ordering::Relaxed)
    }

    /// Ends the load; the audit follows.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    fn accepted(&self) -> VoteCounts {
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

/// Time limit of the retries of a ballot.
const PATIENCE: Duration = Duration::from_secs(60);
/// The error of a ballot that was never accepted.
pub const GAVE_UP: &str = "gave up";
/// Number of ballots between two reads of the page.
const READ_EVERY: usize = 5;

/// Casts the ballots and audits them.
///
/// # Errors
/// The results are unreadable before or after the load, or the audit of a ballot failed.
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

async fn vote(client: Arc<Client>, plan: Plan, progress: Progress, before: VoteCounts) -> Part {
    let mut part = Part::default();
    while !progress.0.stop.load(Ordering::Relaxed) {
        let number = progress.0.begun.fetch_add(1, Ordering::Relaxed);
        if number >= plan.ballots {
            break;
        }
        // Two thirds for the first choice, so that swapped choices show.
        let choice = if number % 3 == 2 { Choice::Second } else { Choice::First };
        let retry = plan.retry && !(plan.leave_some && number % 4 == 3);
        let entry = cast(&client, choice, retry, &mut part).await;
        if entry.outcome == BallotOutcome::Accepted {
            progress.0.accepted[choice.index()].fetch_add(1, Ordering::SeqCst);
        }
        progress.0.cast.fetch_add(1, Ordering::Relaxed);
        part.entries.push(entry);
        if part.entries.len() % READ_EVERY == 0 {
            // The read must show every vote that was accepted before it, by any voter.
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

/// Casts a new ballot, with retries.
async fn cast(client: &Client, choice: Choice, retry: bool, part: &mut Part) -> Entry {
    let id = BallotId::new();
    let start = Instant::now();
    let mut outcome = BallotOutcome::Refused;
    loop {
        let attempt = Instant::now();
        match client.cast(id, choice).await {
            CastOutcome::Counted | CastOutcome::AlreadyCounted => {
                part.latencies.push(attempt.elapsed());
                return Entry { id, choice, outcome: BallotOutcome::Accepted };
            }
            CastOutcome::Refused(why) => *part.errors.entry(why).or_default() += 1,
            CastOutcome::Unknown(why) => {
                outcome = BallotOutcome::Unknown;
                *part.errors.entry(why).or_default() += 1;
            }
        }
        let gives_up = retry && start.elapsed() > PATIENCE;
        if gives_up {
            *part.errors.entry(GAVE_UP.to_owned()).or_default() += 1;
        }
        if !retry || gives_up {
            return Entry { id, choice, outcome };
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A ballot, and whether it had been counted before the audit.
#[derive(Clone, Copy, Debug)]
struct Audited {
    outcome: BallotOutcome,
    choice: Choice,
    was_counted: bool,
}

/// The audit's own attempt got no answer, so its ballot may have been counted before or by it: the account has a gap.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a ballot was counted before the audit or by it, which can't be told")]
pub struct Undecided;

/// Casts a ballot once more, whose answer says whether it was counted before. On a busy machine that may need several
/// attempts.
async fn was_counted(client: &Client, id: BallotId, choice: Choice) -> anyhow::Result<bool> {
    let (start, mut may_be_counted) = (Instant::now(), false);
    loop {
        let why = match client.cast(id, choice).await {
            CastOutcome::Counted => return Ok(false),
            CastOutcome::AlreadyCounted if may_be_counted => {
                return Err(Undecided.into());
            }
            CastOutcome::AlreadyCounted => return Ok(true),
            CastOutcome::Refused(why) => why,
            CastOutcome::Unknown(why) => {
                may_be_counted = true;
                why
            }
        };
        if start.elapsed() > PATIENCE {
            anyhow::bail!("the audit needs a working service, but a ballot failed: {why}")
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
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
            for Entry { id, choice, outcome } in share {
                let was_counted = was_counted(&client, id, choice).await?;
                progress.0.audited.fetch_add(1, Ordering::Relaxed);
                audited.push(Audited { outcome, choice, was_counted });
            }
            Ok::<_, anyhow::Error>(audited)
        });
    }
    let mut audited = Vec::with_capacity(entries.len());
    while let Some(share) = auditors.join_next().await {
        audited.extend(share??);
    }
    Ok(audited)
}
