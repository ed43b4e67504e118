//! Voters beside the tutorial: with and without the feature flag, on new connections and on kept ones. Each reads the page and
//! casts a ballot, round after round, and every request and every ballot is recorded under the tutorial's current step.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use voting_core::{BallotId, Choice};
use voting_http::feature_flag;
use voting_load::{CastOutcome, Client, Forms, VoteCounts};

/// Delay between two rounds of a voter.
const PAUSE: Duration = Duration::from_millis(100);
/// Time limit of the results in the end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time without a failure after a disturbance.
const SETTLED: Duration = Duration::from_secs(2);

/// Running voters; the end of this value ends them.
#[derive(Debug)]
pub struct Load {
    records: Arc<Mutex<Vec<Record>>>,
    /// Voters hold it for reading during a vote, so that a writer sees a settled number of votes.
    votes: Arc<RwLock<()>>,
    step: Arc<Mutex<String>>,
    voters: JoinSet<()>,
    /// Those of an address that voters leave.
    leaving: JoinSet<()>,
    url: String,
}

/// One request.
#[derive(Clone, Debug)]
struct Record {
    step: String,
    is_flagged: bool,
    end: Instant,
    /// Why the request failed.
    failure: Option<String>,
    ballot: Option<Ballot>,
}

#[derive(Clone, Copy, Debug)]
struct Ballot {
    id: BallotId,
    choice: Choice,
    is_accepted: bool,
    /// The voter was told that it never counts.
    is_refused: bool,
    /// Whether release 2.0 answered.
    is_new: bool,
}

/// The account of the load: a row for each step, and the audit of all ballots.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    /// Votes that the page shows in the end.
    shown: u64,
    /// Ballots that are stored in the end.
    stored: u64,
    /// Ballots that are stored although their voters were told that they never count.
    refused_but_stored: u64,
}

#[derive(Clone, Debug, Default)]
struct Row {
    step: String,
    /// Without and with the feature flag.
    requests: [u64; 2],
    failed: [u64; 2],
    longest_gap: Duration,
    accepted: u64,
    counted: u64,
    lost: u64,
    failures: BTreeMap<String, u64>,
}

fn client(url: &str, cookies: Option<&str>, keeps_connections: bool) -> anyhow::Result<Client> {
    let cookies = cookies.map(ToOwned::to_owned);
    Client::new(url, &Forms { cookies, keeps_connections, ..Forms::default() })
}

/// The votes on the pages with these cookies together.
///
/// # Errors
/// The results are unavailable.
pub async fn votes_shown(url: &str, pages: &[Option<&str>]) -> anyhow::Result<u64> {
    let mut shown = 0;
    for cookies in pages {
        shown += client(url, *cookies, true)?.settled_counts().await?.iter().sum::<u64>();
    }
    Ok(shown)
}

impl Load {
    /// Starts the voters at the poll at this URL, which has no trailing slash.
    ///
    /// # Errors
    /// The HTTP client is unavailable.
    pub fn start(url: &str, step: &str) -> anyhow::Result<Self> {
        let mut load = Self {
            records: Arc::default(),
            votes: Arc::default(),
            step: Arc::new(Mutex::new(step.to_owned())),
            voters: JoinSet::new(),
            leaving: JoinSet::new(),
            url: url.to_owned(),
        };
        load.vote()?;
        Ok(load)
    }

    /// Starts voters at the poll's current URL.
    fn vote(&mut self) -> anyhow::Result<()> {
        for is_flagged in [false, true] {
            for keeps_connections in [false, true] {
                let cookies = is_flagged.then_some(feature_flag::ON);
                let client = client(&self.url, cookies, keeps_connections)?;
                let (records, votes, step) = (self.records.clone(), self.votes.clone(), self.step.clone());
                self.voters.spawn(async move {
                    for number in 0_u64.. {
                        let record = |failure, ballot| {
                            let step = step.lock().unwrap().clone();
                            records.lock().unwrap().push(Record {
                                step,
                                is_flagged,
                                end: Instant::now(),
                                failure,
                                ballot,
                            });
                        };
                        record(client.counts().await.err().map(|error| format!("{error:#}")), None);
                        let vote = votes.read().await;
                        let (id, choice) =
                            (BallotId::new(), if number % 3 == 2 { Choice::Second } else { Choice::First });
                        let answer = client.cast(id, choice).await;
                        let is_refused = matches!(answer.outcome, CastOutcome::Refused(_));
                        let (is_accepted, failure) = match answer.outcome {
                            CastOutcome::Counted | CastOutcome::AlreadyCounted => (true, None),
                            CastOutcome::Refused(why) | CastOutcome::Unknown(why) => {
                                (false, Some(format!("vote: {why}")))
                            }
                        };
                        let is_new = answer.releases.is_some_and(|releases| releases.app == "2.0");
                        record(failure, Some(Ballot { id, choice, is_accepted, is_refused, is_new }));
                        drop(vote);
                        tokio::time::sleep(PAUSE).await;
                    }
                });
            }
        }
        Ok(())
    }

    /// More voters come, to another address of the poll; [`Load::leave`] ends those before.
    ///
    /// # Errors
    /// The HTTP client is unavailable.
    pub fn come_to(&mut self, url: &str) -> anyhow::Result<()> {
        url.clone_into(&mut self.url);
        self.leaving = std::mem::take(&mut self.voters);
        self.vote()
    }

    /// Ends the voters of the address before the current one, while no vote is in flight.
    pub async fn leave(&mut self) {
        let votes = self.votes.clone();
        let _votes = votes.write().await;
        self.leaving.shutdown().await;
    }

    /// The following requests belong to this step.
    pub fn go_to(&self, step: &str) {
        step.clone_into(&mut self.step.lock().unwrap());
    }

    /// Runs an action while no vote is in flight, and passes it the accepted votes of release 1.0 and of 2.0.
    pub async fn between_votes<T>(&self, run: impl AsyncFnOnce([VoteCounts; 2]) -> T) -> T {
        let votes = self.votes.write().await;
        let done = run(self.accepted()).await;
        drop(votes);
        done
    }

    /// Number of ballots without a known outcome: each may be counted, so that the tallies may be higher than the accepted
    /// votes.
    pub fn open_outcomes(&self) -> usize {
        let records = self.records.lock().unwrap();
        let ballots = records.iter().filter_map(|record| record.ballot);
        ballots.filter(|ballot| !ballot.is_accepted && !ballot.is_refused).count()
    }

    fn accepted(&self) -> [VoteCounts; 2] {
        let mut accepted = [[0; 2]; 2];
        for ballot in self.records.lock().unwrap().iter().filter_map(|record| record.ballot) {
            accepted[usize::from(ballot.is_new)][ballot.choice.index()] += u64::from(ballot.is_accepted);
        }
        accepted
    }

    /// Ends the voters while no vote is in flight.
    pub async fn stop(&mut self) {
        let votes = self.votes.clone();
        let _votes = votes.write().await;
        self.voters.shutdown().await;
        self.leaving.shutdown().await;
    }

    /// Waits until no request has failed for two seconds.
    ///
    /// # Errors
    /// Requests still fail after a minute.
    pub async fn settled(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let last = self.records.lock().unwrap().iter().rfind(|record| record.failure.is_some()).cloned();
            if start.elapsed() > SETTLED && last.as_ref().is_none_or(|record| record.end.elapsed() > SETTLED)
            {
                return Ok(());
            }
            let failure = last.and_then(|record| record.failure).unwrap_or_default();
            ensure!(start.elapsed() < PATIENCE, "requests still fail: {failure}");
        }
    }

    /// Compares the ballots of stopped voters with all ballots that are stored. The pages with these cookies show the votes of
    /// all stores together.
    ///
    /// # Errors
    /// The results are unavailable.
    pub async fn report(self, stored: &HashSet<[u8; 16]>, pages: &[Option<&str>]) -> anyhow::Result<Report> {
        let shown = votes_shown(&self.url, pages).await?;
        let records = std::mem::take(&mut *self.records.lock().unwrap());
        let mut report = Report { shown, stored: stored.len() as u64, ..Report::default() };
        let mut last = BTreeMap::new();
        for record in records {
            if report.rows.last().is_none_or(|row| row.step != record.step) {
                report.rows.push(Row { step: record.step.clone(), ..Row::default() });
            }
            let row = report.rows.last_mut().expect("a row");
            let kind = usize::from(record.is_flagged);
            row.requests[kind] += 1;
            if let Some(failure) = record.failure {
                row.failed[kind] += 1;
                *row.failures.entry(failure).or_default() += 1;
            } else if let Some(before) = last.insert(kind, record.end) {
                row.longest_gap = row.longest_gap.max(record.end.duration_since(before));
            }
            let Some(ballot) = record.ballot else { continue };
            let is_stored = stored.contains(ballot.id.as_bytes());
            row.counted += u64::from(is_stored);
            row.accepted += u64::from(ballot.is_accepted);
            row.lost += u64::from(ballot.is_accepted && !is_stored);
            report.refused_but_stored += u64::from(ballot.is_refused && is_stored);
        }
        Ok(report)
    }
}

impl Report {
    /// # Errors
    /// A vote was lost or doubled, or a request failed.
    pub fn check(&self) -> anyhow::Result<()> {
        let failed: u64 = self.rows.iter().flat_map(|row| row.failed).sum();
        ensure!(failed == 0, "{failed} requests failed");
        self.check_votes()
    }

    /// # Errors
    /// A vote was lost or doubled, or refused and stored.
    pub fn check_votes(&self) -> anyhow::Result<()> {
        let (lost, doubled) = (self.lost(), self.doubled());
        let refused = self.refused_but_stored;
        ensure!(
            lost == 0 && doubled == 0 && refused == 0,
            "{lost} votes lost, {doubled} doubled, {refused} refused but stored"
        );
        Ok(())
    }

    /// Number of failed requests of a step.
    pub fn failed(&self, step: &str) -> u64 {
        self.rows.iter().filter(|row| row.step == step).flat_map(|row| row.failed).sum()
    }

    /// Accepted ballots that are not stored, and stored ones that the page does not show.
    fn lost(&self) -> u64 {
        self.rows.iter().map(|row| row.lost).sum::<u64>() + self.stored.saturating_sub(self.shown)
    }

    /// Votes on the page that no ballot accounts for.
    fn doubled(&self) -> u64 {
        self.shown.saturating_sub(self.stored)
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{:<22}{:>9}{:>8}{:>9}{:>8}{:>9}{:>10}{:>9}{:>6}",
            "", "no flag", "failed", "flag", "failed", "gap", "accepted", "counted", "lost"
        )?;
        let mut failures = String::new();
        for row in &self.rows {
            let gap = format!("{:.1} s", row.longest_gap.as_secs_f32());
            writeln!(
                f,
                "{:<22}{:>9}{:>8}{:>9}{:>8}{gap:>9}{:>10}{:>9}{:>6}",
                row.step,
                row.requests[0],
                row.failed[0],
                row.requests[1],
                row.failed[1],
                row.accepted,
                row.counted,
                row.lost
            )?;
            for (failure, count) in &row.failures {
                let _ = writeln!(failures, "{}: {count} x {failure}", row.step);
            }
        }
        write!(
            f,
            "{failures}votes shown: {}, ballots stored: {}; lost: {}, doubled: {}, refused but stored: {}",
            self.shown,
            self.stored,
            self.lost(),
            self.doubled(),
            self.refused_but_stored
        )
    }
}
