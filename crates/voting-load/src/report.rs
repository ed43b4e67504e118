//! The account of a load.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use voting_core::Choice;

use crate::audit::{Audited, Store};
use crate::book::{Record, no_latencies};
use crate::doubt::Doubt;
use crate::outcome::BallotOutcome;
use crate::page::NoCounts;
use crate::picture::shown;

/// The account of a load. [`Report::is_clean`] is the verdict.
#[derive(Clone, Debug)]
pub struct Report {
    /// The account of all ballots.
    pub total: Account,
    /// The ballots of each release of voting-app, which answered last.
    pub releases: BTreeMap<String, Account>,
    /// What can't be told, and why.
    pub doubts: Vec<Doubt>,
    /// Duration of the load without the audit.
    pub took: Duration,
    /// The results of each store before the load, after it and after the audit.
    results: Vec<(String, [Option<u64>; 3])>,
}

/// Numbers of ballots.
#[derive(Clone, Debug)]
pub struct Account {
    /// Ballots by their final outcome.
    pub outcomes: BTreeMap<BallotOutcome, u64>,
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
    /// Ballots that began over a second after their turn, because no voter was free.
    pub late: u64,
    /// Failed attempts by kind.
    pub errors: BTreeMap<String, u64>,
    /// Latencies of accepted attempts in microseconds.
    pub latencies: Histogram<u64>,
    /// Whether doubled votes can be told.
    knows_doubled: bool,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            outcomes: BallotOutcome::ALL.map(|outcome| (outcome, 0)).into(),
            lost: 0,
            doubled: 0,
            counted_though_refused: 0,
            unknown_counted: 0,
            reads: 0,
            stale_reads: 0,
            late: 0,
            errors: BTreeMap::new(),
            latencies: no_latencies(),
            knows_doubled: true,
        }
    }
}

impl Account {
    /// Number of ballots.
    pub fn ballots(&self) -> u64 {
        self.outcomes.values().sum()
    }

    fn breaks_a_promise(&self) -> bool {
        self.lost > 0
            || self.doubled > 0
            || self.counted_though_refused > 0
            || self.stale_reads > 0
            || self.errors.contains_key(&NoCounts::Contradictory.to_string())
    }

    fn add_ballot(&mut self, ballot: &Audited) {
        let was_counted = ballot.was_counted == Some(true);
        *self.outcomes.entry(ballot.outcome).or_default() += 1;
        match ballot.outcome {
            BallotOutcome::Accepted => self.lost += u64::from(ballot.was_counted == Some(false)),
            BallotOutcome::Refused => self.counted_though_refused += u64::from(was_counted),
            BallotOutcome::Unknown => self.unknown_counted += u64::from(was_counted),
        }
    }

    fn add_record(&mut self, record: &Record) {
        for (error, count) in &record.errors {
            *self.errors.entry(error.clone()).or_default() += count;
        }
        // Only histograms of a fixed size can be full.
        self.latencies.add(&record.latencies).unwrap_or_default();
        self.reads += record.reads;
        self.stale_reads += record.stale_reads;
        self.late += record.late;
    }
}

/// What the results of a store say about its ballots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    /// Known ballots that are not in the results.
    missing: u64,
    /// Votes in the results that no ballot accounts for.
    extra: u64,
}

impl Sums {
    /// `None` if the results before or after the load are unknown.
    fn of(store: &Store) -> Option<Self> {
        let (before, [counted, after]) = (store.before?, store.results?);
        let mut sums = Self::default();
        for choice in Choice::ALL {
            let index = choice.index();
            let of_choice: Vec<_> = store.ballots.iter().filter(|ballot| ballot.choice == choice).collect();
            let number = |counted: Option<bool>| {
                of_choice.iter().filter(|ballot| ballot.was_counted == counted).count() as i64
            };
            let (known, open) = (number(Some(true)), number(None));
            // Each known ballot must be in the results exactly once.
            let shown = counted[index] as i64 - before[index] as i64;
            let (missing, extra) = ((known - shown).max(0), (shown - known - open).max(0));
            // After the audit every ballot is counted exactly once. An accepted one that was not counted before is lost already,
            // whether or not the audit's attempt is lost as well.
            let all = after[index] as i64 - before[index] as i64;
            let is_lost = |ballot: &&&Audited| {
                ballot.was_counted == Some(false) && ballot.outcome == BallotOutcome::Accepted
            };
            let lost = of_choice.iter().filter(is_lost).count() as i64;
            let audited = known + number(Some(false));
            let missing = missing.max(audited - lost - all);
            let extra = extra.max(all - audited - open);
            sums.missing += missing as u64;
            sums.extra += extra as u64;
        }
        Some(sums)
    }
}

impl Report {
    pub(crate) fn new(stores: &[Store], records: &BTreeMap<String, Record>, took: Duration) -> Self {
        let mut report = Self {
            total: Account::default(),
            releases: BTreeMap::new(),
            doubts: Vec::new(),
            took,
            results: Vec::new(),
        };
        for store in stores {
            report.add_store(store);
        }
        for (release, record) in records {
            report.total.add_record(record);
            report.releases.entry(release.clone()).or_default().add_record(record);
        }
        report
    }

    fn add_store(&mut self, store: &Store) {
        for ballot in &store.ballots {
            self.total.add_ballot(ballot);
            self.releases.entry(shown(&ballot.app).to_owned()).or_default().add_ballot(ballot);
        }
        let sum = |counts: [u64; 2]| counts.iter().sum();
        let [counted, after] = store.results.map_or([None; 2], |results| results.map(|one| Some(sum(one))));
        self.results.push((shown(&store.storage).to_owned(), [store.before.map(sum), counted, after]));

        let sums = Sums::of(store);
        let doubts = Doubt::of(store, sums.map(|sums| [sums.missing, sums.extra]));
        let mut sums = sums.unwrap_or_default();
        let knows_sums =
            !doubts.iter().any(|doubt| matches!(doubt, Doubt::Others { .. } | Doubt::Moved { .. }));
        if !knows_sums {
            sums = Sums::default();
        }
        let knows_doubled =
            doubts.iter().all(|doubt| matches!(doubt, Doubt::Undecided { .. } | Doubt::Rose { .. }));
        self.doubts.extend(doubts);
        // The results of a store are those of a release if it is the only one there.
        let apps: BTreeSet<_> = store.ballots.iter().map(|ballot| shown(&ballot.app)).collect();
        let of_release = match apps.first() {
            Some(app) if apps.len() == 1 => self.releases.get_mut(*app),
            _ => None,
        };
        for account in of_release.into_iter().chain([&mut self.total]) {
            account.lost += sums.missing;
            account.doubled += sums.extra;
            account.knows_doubled &= knows_doubled;
        }
    }

    /// Number of ballots.
    pub fn ballots(&self) -> u64 {
        self.total.ballots()
    }

    /// Whether a vote was lost or doubled, a refused vote was counted, or a read was stale.
    pub fn breaks_a_promise(&self) -> bool {
        self.total.breaks_a_promise()
    }

    /// Whether no promise is broken, and none is in doubt.
    pub fn is_clean(&self) -> bool {
        !self.breaks_a_promise() && self.doubts.is_empty()
    }

    /// Whether the audit could not tell of some ballot whether it had been counted.
    pub fn has_undecided_ballots(&self) -> bool {
        self.doubts.iter().any(|doubt| matches!(doubt, Doubt::Undecided { .. }))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One release is the total.
        let releases = self.releases.iter().map(|(release, account)| (release.as_str(), account));
        let columns: Vec<_> = match self.releases.len() {
            1 => releases.collect(),
            _ => releases.chain([("total", &self.total)]).collect(),
        };
        let line = |f: &mut fmt::Formatter<'_>, name: &str, cell: &dyn Fn(&Account) -> String| {
            write!(f, "{name:<36}")?;
            columns.iter().try_for_each(|(_, account)| write!(f, "{:>12}", cell(account)))?;
            writeln!(f)
        };
        write!(f, "{:<36}", "release of voting-app")?;
        columns.iter().try_for_each(|(release, _)| write!(f, "{release:>12}"))?;
        writeln!(f)?;
        line(f, "ballots", &|account| account.ballots().to_string())?;
        for outcome in BallotOutcome::ALL {
            line(f, &format!("  {}", outcome.name()), &|account| account.outcomes[&outcome].to_string())?;
        }
        line(f, "  unknown, and counted", &|account| account.unknown_counted.to_string())?;
        line(f, "lost", &|account| account.lost.to_string())?;
        line(f, "doubled", &|account| match account.knows_doubled {
            true => account.doubled.to_string(),
            false => "?".to_owned(),
        })?;
        line(f, "refused but counted", &|account| account.counted_though_refused.to_string())?;
        line(f, "reads", &|account| account.reads.to_string())?;
        line(f, "stale reads", &|account| account.stale_reads.to_string())?;
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            line(f, &format!("latency {name}, ms"), &|account| {
                if account.latencies.is_empty() {
                    return "-".to_owned();
                }
                format!("{:.1}", account.latencies.value_at_quantile(quantile) as f64 / 1000.0)
            })?;
        }
        if self.total.late > 0 {
            line(f, "began late, as no voter was free", &|account| account.late.to_string())?;
        }
        for error in self.total.errors.keys() {
            line(f, &format!("error: {error}"), &|account| {
                account.errors.get(error).copied().unwrap_or_default().to_string()
            })?;
        }
        for (storage, [before, counted, after]) in &self.results {
            let [before, counted, after] = [before, counted, after]
                .map(|votes| votes.map_or_else(|| "?".to_owned(), |votes| votes.to_string()));
            writeln!(
                f,
                "storage {storage}: {before} votes before the load, {counted} after it, {after} after the audit"
            )?;
        }
        for doubt in &self.doubts {
            writeln!(f, "{doubt}")?;
        }
        let accepted = self.total.outcomes[&BallotOutcome::Accepted];
        let rate = accepted as f64 / self.took.as_secs_f64();
        write!(f, "accepted: {rate:.1}/s in {:.1} s", self.took.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(outcome: BallotOutcome, was_counted: bool) -> Audited {
        Audited {
            app: "1.0".to_owned(),
            choice: Choice::First,
            outcome,
            was_counted: Some(was_counted),
            is_elsewhere: false,
        }
    }

    fn store(ballots: &[Audited], counted: u64, after: u64) -> Store {
        Store {
            storage: "1.0".to_owned(),
            ballots: ballots.to_vec(),
            before: Some([10, 0]),
            results: Some([[10 + counted, 0], [10 + after, 0]]),
            ..Store::default()
        }
    }

    fn report(stores: &[Store]) -> Report {
        Report::new(stores, &BTreeMap::new(), Duration::from_secs(1))
    }

    #[test]
    fn a_clean_load_is_clean() {
        let ballots = [
            ballot(BallotOutcome::Accepted, true),
            ballot(BallotOutcome::Refused, false),
            ballot(BallotOutcome::Unknown, true),
        ];
        let report = report(&[store(&ballots, 2, 3)]);
        assert!(report.is_clean(), "{report}");
        assert_eq!((report.ballots(), report.total.unknown_counted), (3, 1));
    }

    #[test]
    fn each_kind_of_error_is_found() {
        let accepted = || ballot(BallotOutcome::Accepted, true);
        let of = |ballots: &[Audited], counted, after| report(&[store(ballots, counted, after)]).total;
        assert_eq!(of(&[accepted(), ballot(BallotOutcome::Accepted, false)], 1, 2).lost, 1);
        assert_eq!(of(&[accepted(), accepted()], 1, 1).lost, 1, "an id without a vote");
        assert_eq!(
            of(&[accepted(), ballot(BallotOutcome::Accepted, false)], 1, 1).lost,
            1,
            "lost in the audit again"
        );
        assert_eq!(
            of(&[accepted(), ballot(BallotOutcome::Unknown, false)], 1, 1).lost,
            1,
            "lost in the audit"
        );
        assert_eq!(of(&[accepted()], 2, 2).doubled, 1);
        assert_eq!(of(&[accepted()], 1, 2).doubled, 1, "counted again by the audit");
        let refused = report(&[store(&[ballot(BallotOutcome::Refused, true)], 1, 1)]);
        assert!(refused.total.counted_though_refused == 1 && !refused.is_clean());
    }

    #[test]
    fn each_release_has_its_account() {
        let mut of_2_0 = ballot(BallotOutcome::Accepted, false);
        of_2_0.app = "2.0".to_owned();
        let canary = Store { storage: "2.0".to_owned(), ..store(&[of_2_0], 0, 1) };
        let report = report(&[store(&[ballot(BallotOutcome::Accepted, true)], 1, 1), canary]);
        assert_eq!((report.releases["1.0"].lost, report.releases["2.0"].lost), (0, 1), "{report}");
        let lost = report.to_string();
        let lost = lost.lines().find(|line| line.starts_with("lost")).unwrap();
        assert_eq!(lost.split_whitespace().collect::<Vec<_>>(), ["lost", "0", "1", "1"]);
    }

    #[test]
    fn what_cannot_be_told_is_said_and_is_not_clean() {
        let accepted = || ballot(BallotOutcome::Accepted, true);
        let reset = report(&[store(&[accepted(), accepted()], 0, 0)]);
        assert!(reset.breaks_a_promise() && reset.to_string().contains("the poll was reset"), "{reset}");
        let fallen = Store { before: Some([50, 0]), ..store(&[accepted()], 1, 1) };
        assert_eq!(report(&[fallen]).total.lost, 40, "votes from before the load");

        let others = report(&[Store { others: 3, ..store(&[accepted()], 8, 9) }]);
        assert!(!others.breaks_a_promise() && !others.is_clean(), "{others}");
        assert!(others.to_string().contains("the poll had other voters"), "{others}");
        let doubled = others.to_string();
        assert!(doubled.lines().any(|line| line.starts_with("doubled") && line.ends_with(" ?")), "{others}");
        let lost = Store { others: 3, ..store(&[ballot(BallotOutcome::Accepted, false)], 8, 9) };
        assert_eq!(report(&[lost]).total.lost, 1, "known by its id");

        let away = Store { results: None, ..store(&[Audited { was_counted: None, ..accepted() }], 0, 0) };
        let away = report(&[away]);
        assert!(!away.breaks_a_promise() && away.to_string().contains("no voter reaches it"), "{away}");
    }

    #[test]
    fn a_ballot_that_the_audit_cannot_decide_is_neither_lost_nor_doubled() {
        let open = Audited { was_counted: None, ..ballot(BallotOutcome::Unknown, true) };
        for counted in [1, 2] {
            let report = report(&[store(&[ballot(BallotOutcome::Accepted, true), open.clone()], counted, 2)]);
            assert!(!report.breaks_a_promise() && report.has_undecided_ballots(), "{report}");
        }
    }
}
