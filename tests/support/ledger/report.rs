//! The result of a ledger run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use voting_core::Choice;

use super::{Audited, BallotOutcome, VoteCounts};

/// The result of a ledger run. [`Report::is_clean`] is the verdict.
#[derive(Clone, Debug)]
pub struct Report {
    /// Ballots by their final outcome.
    pub outcomes: BTreeMap<BallotOutcome, u64>,
    /// Votes that the load added to the results.
    pub counted: u64,
    /// Accepted ballots that were not counted.
    pub lost: u64,
    /// Votes in the results that no ballot accounts for.
    pub doubled: u64,
    /// Refused ballots that were counted.
    pub counted_though_refused: u64,
    /// Counted ballots whose outcome was unknown to the voter.
    pub unknown_counted: u64,
    /// Reads of the results.
    pub reads: u64,
    /// Reads that missed a vote that was accepted before.
    pub stale_reads: u64,
    /// Failed attempts by kind.
    pub errors: BTreeMap<String, u64>,
    /// Latencies of accepted attempts in microseconds.
    pub latencies: Histogram<u64>,
    /// Duration of the load without the audit.
    pub took: Duration,
}

impl Report {
    pub(super) fn new(
        audited: &[Audited],
        before: VoteCounts,
        counted: VoteCounts,
        after: VoteCounts,
        took: Duration,
    ) -> Self {
        let number = |which: &dyn Fn(&Audited) -> bool| {
            u64::try_from(audited.iter().filter(|a| which(a)).count()).unwrap_or(0)
        };
        let mut lost = number(&|a| a.outcome == BallotOutcome::Accepted && !a.was_counted);
        let mut doubled = 0;
        for choice in Choice::ALL {
            let index = choice.index();
            let of_choice = number(&|a| a.choice == choice);
            let known = number(&|a| a.choice == choice && a.was_counted);
            // Each known id must be in the results exactly once.
            let shown = counted[index].saturating_sub(before[index]);
            lost += known.saturating_sub(shown);
            doubled += shown.saturating_sub(known);
            // After the audit every ballot is counted exactly once.
            let all = after[index].saturating_sub(before[index]);
            lost += of_choice.saturating_sub(all).saturating_sub(known.saturating_sub(shown));
            doubled += all.saturating_sub(of_choice).saturating_sub(shown.saturating_sub(known));
        }
        let outcomes = [BallotOutcome::Accepted, BallotOutcome::Refused, BallotOutcome::Unknown]
            .map(|outcome| (outcome, number(&|a| a.outcome == outcome)));
        Self {
            outcomes: outcomes.into(),
            counted: counted.iter().sum::<u64>() - before.iter().sum::<u64>(),
            lost,
            doubled,
            counted_though_refused: number(&|a| a.outcome == BallotOutcome::Refused && a.was_counted),
            unknown_counted: number(&|a| a.outcome == BallotOutcome::Unknown && a.was_counted),
            reads: 0,
            stale_reads: 0,
            errors: BTreeMap::new(),
            latencies: Histogram::new_with_bounds(1, 2, 3).unwrap(),
            took,
        }
    }

    /// Number of ballots.
    pub fn ballots(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Whether no vote was lost or doubled, no refused vote was counted and no read was stale.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.counted_though_refused == 0 && self.stale_reads == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1000.0;
        let rows = [
            ("ballots", self.ballots()),
            ("  accepted", self.outcomes[&BallotOutcome::Accepted]),
            ("  refused", self.outcomes[&BallotOutcome::Refused]),
            ("  unknown", self.outcomes[&BallotOutcome::Unknown]),
            ("  unknown, and counted", self.unknown_counted),
            ("counted", self.counted),
            ("lost", self.lost),
            ("doubled", self.doubled),
            ("counted though refused", self.counted_though_refused),
            ("reads", self.reads),
            ("stale reads", self.stale_reads),
        ];
        for (name, number) in rows {
            writeln!(f, "{name:<28}{number:>12}")?;
        }
        for (error, count) in &self.errors {
            writeln!(f, "{:<28}{count:>12}", format!("error: {error}"))?;
        }
        let rate = self.outcomes[&BallotOutcome::Accepted] as f64 / self.took.as_secs_f64();
        writeln!(f, "{:<28}{rate:>10.0}/s in {:.1} s", "accepted", self.took.as_secs_f64())?;
        write!(
            f,
            "{:<28}p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms",
            "latency of acceptance",
            millis(0.5),
            millis(0.9),
            millis(0.99),
            millis(0.999),
            millis(1.0)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(outcome: BallotOutcome, was_counted: bool) -> Audited {
        Audited { outcome, choice: Choice::First, was_counted }
    }

    fn report(audited: &[Audited], counted: u64, after: u64) -> Report {
        Report::new(audited, [10, 0], [10 + counted, 0], [10 + after, 0], Duration::from_secs(1))
    }

    #[test]
    fn a_clean_load_is_clean() {
        let ballots = [
            ballot(BallotOutcome::Accepted, true),
            ballot(BallotOutcome::Refused, false),
            ballot(BallotOutcome::Unknown, true),
        ];
        let report = report(&ballots, 2, 3);
        assert!(report.is_clean(), "{report}");
        assert_eq!((report.counted, report.unknown_counted), (2, 1));
    }

    #[test]
    fn each_kind_of_error_is_found() {
        let accepted = ballot(BallotOutcome::Accepted, true);
        assert_eq!(report(&[accepted, ballot(BallotOutcome::Accepted, false)], 1, 2).lost, 1);
        assert_eq!(report(&[accepted, accepted], 1, 1).lost, 1, "an id without a vote");
        assert_eq!(report(&[accepted], 2, 2).doubled, 1);
        assert_eq!(report(&[accepted], 1, 2).doubled, 1, "counted again by the audit");
        let refused = report(&[ballot(BallotOutcome::Refused, true)], 1, 1);
        assert!(refused.counted_though_refused == 1 && !refused.is_clean());
    }
}
