//! The records of all voters, by release.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use voting_core::{BallotId, Choice};

use crate::client::Releases;
use crate::metrics::LoadMetrics;
use crate::outcome::BallotOutcome;
use crate::picture::{Picture, Verdict, shown};

/// A ballot and its outcome.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: BallotId,
    pub(crate) choice: Choice,
    pub(crate) outcome: BallotOutcome,
    /// The releases that answered last, or those of the page that it came from.
    pub(crate) releases: Releases,
}

/// What happened besides the outcomes of ballots, for one release of voting-app.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) errors: BTreeMap<String, u64>,
    /// In microseconds.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) reads: u64,
    pub(crate) stale_reads: u64,
    pub(crate) late: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self { errors: BTreeMap::new(), latencies: no_latencies(), reads: 0, stale_reads: 0, late: 0 }
    }
}

/// A histogram without values.
pub(crate) fn no_latencies() -> Histogram<u64> {
    Histogram::new(3).expect("3 digits are supported")
}

/// The records of all voters.
#[derive(Debug)]
pub(crate) struct Book {
    records: Mutex<BTreeMap<String, Record>>,
    metrics: LoadMetrics,
    picture: Picture,
}

impl Book {
    pub(crate) fn new(metrics: LoadMetrics, picture: Picture) -> Self {
        Self { records: Mutex::default(), metrics, picture }
    }

    fn with(&self, release: &str, change: impl FnOnce(&mut Record)) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        change(records.entry(shown(release).to_owned()).or_default());
    }

    pub(crate) fn error(&self, release: &str, error: &str) {
        self.metrics.error(shown(release), error);
        self.with(release, |record| *record.errors.entry(error.to_owned()).or_default() += 1);
    }

    pub(crate) fn accepted(&self, release: &str, latency: Duration) {
        self.metrics.accepted(shown(release), latency);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        // Only a histogram of a fixed size can be full.
        self.with(release, |record| record.latencies.record(micros).unwrap_or_default());
    }

    pub(crate) fn read(&self, release: &str, verdict: Verdict) {
        let is_stale = verdict.missing > 0;
        self.metrics.read(shown(release), is_stale);
        self.picture.read(shown(release), verdict);
        self.with(release, |record| {
            record.reads += 1;
            record.stale_reads += u64::from(is_stale);
        });
    }

    pub(crate) fn late(&self, release: &str) {
        self.with(release, |record| record.late += 1);
    }

    pub(crate) fn ballot(&self, release: &str, outcome: BallotOutcome) {
        self.metrics.ballot(shown(release), outcome.name());
        self.picture.ballot(shown(release), outcome);
    }

    pub(crate) fn records(&self) -> BTreeMap<String, Record> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
