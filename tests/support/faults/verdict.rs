//! The verdict on a schedule, and the shortest part of one that fails.

use tokio::task::JoinError;
use voting_load::{GAVE_UP, Report};

use super::{Cluster, Schedule, shrink};

/// How a schedule ended.
#[derive(Debug, Default)]
pub struct Verdict {
    pub ballots: u64,
    /// Acknowledged ballots that were not counted.
    pub lost: u64,
    /// Votes that no ballot accounts for.
    pub doubled: u64,
    /// The guarantee that the system broke.
    pub broken: Option<String>,
}

impl Schedule {
    /// Runs the schedule once. A panic, of a program that does not start again for instance, breaks a guarantee too.
    pub async fn verdict(&self) -> Verdict {
        match self.play_until_decided().await {
            Ok(Ok(report)) => {
                let is_broken = !report.is_clean() || report.total.errors.contains_key(GAVE_UP);
                let broken = is_broken.then(|| format!("\n{report}"));
                let (lost, doubled) = (report.total.lost, report.total.doubled);
                Verdict { ballots: report.ballots(), lost, doubled, broken }
            }
            Ok(Err(error)) => Verdict { broken: Some(format!("{error:#}")), ..Verdict::default() },
            Err(panic) => Verdict { broken: Some(panic.to_string()), ..Verdict::default() },
        }
    }

    /// Plays the schedule again if the account has a gap, as on a busy machine.
    async fn play_until_decided(&self) -> Result<anyhow::Result<Report>, JoinError> {
        const ATTEMPTS: u32 = 4;
        let mut attempt = 1;
        loop {
            let owned = self.clone();
            let played = tokio::spawn(async move { Cluster::play(&owned, |_| ()).await }).await?;
            match played {
                Ok(report) if report.has_undecided_ballots() && attempt < ATTEMPTS => attempt += 1,
                played => return Ok(played),
            }
        }
    }

    /// These events of the schedule.
    pub fn part(&self, places: &[usize]) -> Self {
        let events = places.iter().filter_map(|place| self.events.get(*place).copied()).collect();
        Self { release: self.release, events }
    }

    /// The places of the fewest events that still fail; `None` if the schedule does not fail again. Each part has two
    /// attempts, because no two runs have the same timing.
    pub async fn shortest_failing(&self) -> Option<Vec<usize>> {
        let fails = async |places: &[usize]| {
            let part = self.part(places);
            part.verdict().await.broken.is_some() || part.verdict().await.broken.is_some()
        };
        let places: Vec<_> = (0..self.events.len()).collect();
        if !fails(&places).await {
            return None;
        }
        Some(shrink(&places, fails).await)
    }
}
