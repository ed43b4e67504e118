//! Where the requests of a load go: each answer of the last seconds, and the counters of each release, for a page that shows
//! them live.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use voting_http::serving_path::ServingPath;

use crate::outcome::BallotOutcome;

/// How long an answer is part of the split.
pub const WINDOW: Duration = Duration::from_secs(10);
/// The most answers that are kept: those of the window at 5,000 a second.
const MOST_ANSWERS: usize = 50_000;
/// The most dots that a viewer gets at a time.
const MOST_DOTS: u64 = 300;
/// The age of the oldest dots that a new viewer gets.
const FIRST_DOTS: Duration = Duration::from_secs(1);

/// The release in accounts and metrics where no response names one.
pub(crate) const UNNAMED: &str = "unknown";

/// The name of a release in accounts and metrics.
pub(crate) fn shown(release: &str) -> &str {
    if release.is_empty() { UNNAMED } else { release }
}

/// What results say about the ballots that were cast before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Accepted votes that the results lack.
    pub(crate) missing: u64,
    /// Votes that no ballot accounts for.
    pub(crate) extra: u64,
}

/// An answer to a voter's request, or its failure.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// `None` if no release is named.
    pub(crate) path: Option<ServingPath>,
    pub(crate) latency: Duration,
    pub(crate) is_vote: bool,
    pub(crate) has_failed: bool,
}

/// The answers and counters of a load; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Picture(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<Seen>,
    /// Number of answers that are no longer kept.
    gone: u64,
    first: Option<Instant>,
    releases: Vec<Release>,
}

/// An answer of the last seconds.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    release: usize,
    latency: Duration,
    is_vote: bool,
    has_failed: bool,
}

/// The counters of a release of voting-app.
#[derive(Clone, Debug, Default)]
pub(crate) struct Release {
    pub(crate) name: String,
    /// The kinds of faults that it injects.
    pub(crate) faults: Option<String>,
    /// The releases of voting-analytics and voting-storage behind it.
    pub(crate) analytics: Option<String>,
    pub(crate) storage: Option<String>,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) reads: u64,
    pub(crate) stale_reads: u64,
    /// Of the last results.
    pub(crate) verdict: Verdict,
}

/// The picture at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// In the order of their names.
    pub(crate) releases: Vec<ReleaseSnapshot>,
    /// The answers since the viewer's last look.
    pub(crate) dots: Vec<Dot>,
    /// Number of answers that a dot stands for.
    pub(crate) each: u64,
    /// Number of answers so far: the viewer's next look is at those after them.
    pub(crate) next: u64,
}

/// A release, and its answers of the last seconds.
#[derive(Clone, Debug)]
pub(crate) struct ReleaseSnapshot {
    pub(crate) release: Release,
    pub(crate) answers: u64,
    pub(crate) errors: u64,
    /// Of all answers, from 0 to 1.
    pub(crate) share: f64,
    pub(crate) per_second: f64,
    /// The latencies that half of the answers and 99% of them keep; `None` without answers.
    pub(crate) latencies: Option<[Duration; 2]>,
}

/// An answer for the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dot {
    /// Place of the release in the snapshot.
    pub(crate) release: usize,
    pub(crate) age: Duration,
    pub(crate) latency: Duration,
    pub(crate) is_vote: bool,
    pub(crate) has_failed: bool,
}

impl State {
    /// The place of a release.
    fn place(&mut self, name: &str) -> usize {
        self.releases.iter().position(|release| release.name == name).unwrap_or_else(|| {
            self.releases.push(Release { name: name.to_owned(), ..Release::default() });
            self.releases.len() - 1
        })
    }

    fn forget(&mut self, now: Instant) {
        while self.answers.len() > MOST_ANSWERS
            || self.answers.front().is_some_and(|answer| now.duration_since(answer.at) > WINDOW)
        {
            self.answers.pop_front();
            self.gone += 1;
        }
    }
}

impl Picture {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn with_release(&self, release: &str, change: impl FnOnce(&mut Release)) {
        self.with(|state| {
            let place = state.place(release);
            change(&mut state.releases[place]);
        });
    }

    pub(crate) fn answer(&self, answer: &Answer) {
        let now = Instant::now();
        let of = |component| answer.path.as_ref().and_then(|path| path.release(component));
        self.with(|state| {
            let place = state.place(of("app").unwrap_or(UNNAMED));
            let release = &mut state.releases[place];
            let keep = |known: &mut Option<String>, named: Option<&str>| {
                if named.is_some() && known.as_deref() != named {
                    *known = named.map(ToOwned::to_owned);
                }
            };
            // The answer to a vote names no analytics.
            keep(&mut release.analytics, of("analytics"));
            keep(&mut release.storage, of("storage"));
            if let Some(path) = &answer.path {
                let faults = path.faults("app");
                if release.faults.as_deref() != faults {
                    release.faults = faults.map(ToOwned::to_owned);
                }
            }
            let Answer { latency, is_vote, has_failed, .. } = *answer;
            state.first.get_or_insert(now);
            state.answers.push_back(Seen { at: now, release: place, latency, is_vote, has_failed });
            state.forget(now);
        });
    }

    pub(crate) fn ballot(&self, release: &str, outcome: BallotOutcome) {
        self.with_release(release, |release| match outcome {
            BallotOutcome::Accepted => release.accepted += 1,
            BallotOutcome::Refused => release.refused += 1,
            BallotOutcome::Unknown => release.unknown += 1,
        });
    }

    pub(crate) fn read(&self, release: &str, verdict: Verdict) {
        self.with_release(release, |release| {
            release.reads += 1;
            release.stale_reads += u64::from(verdict.missing > 0);
            release.verdict = verdict;
        });
    }

    /// The picture for a viewer who has seen this number of answers.
    pub(crate) fn snapshot(&self, seen: u64) -> Snapshot {
        let now = Instant::now();
        let (answers, gone, first, releases) = self.with(|state| {
            state.forget(now);
            (state.answers.clone(), state.gone, state.first, state.releases.clone())
        });
        let mut order: Vec<_> = (0..releases.len()).collect();
        order.sort_by_key(|place| (releases[*place].name == UNNAMED, &releases[*place].name));
        let seconds =
            first.map_or(WINDOW, |first| now.duration_since(first).min(WINDOW)).as_secs_f64().max(1.0);
        let total = answers.len().max(1) as f64;
        let snapshot = |place: &usize| {
            let own = || answers.iter().filter(|answer| answer.release == *place);
            let mut latencies: Vec<_> = own().map(|answer| answer.latency).collect();
            latencies.sort_unstable();
            ReleaseSnapshot {
                release: releases[*place].clone(),
                answers: latencies.len() as u64,
                errors: own().filter(|answer| answer.has_failed).count() as u64,
                share: latencies.len() as f64 / total,
                per_second: latencies.len() as f64 / seconds,
                latencies: latencies.last().map(|slowest| {
                    let at = |quantile: f64| {
                        latencies.get((latencies.len() as f64 * quantile) as usize).unwrap_or(slowest)
                    };
                    [*at(0.5), *at(0.99)]
                }),
            }
        };
        let dot = |answer: &Seen| Dot {
            release: order.iter().position(|place| *place == answer.release).unwrap_or_default(),
            age: now.duration_since(answer.at),
            latency: answer.latency,
            is_vote: answer.is_vote,
            has_failed: answer.has_failed,
        };
        let skipped = usize::try_from(seen.saturating_sub(gone)).unwrap_or(usize::MAX);
        let is_new = |answer: &&Seen| seen > 0 || now.duration_since(answer.at) <= FIRST_DOTS;
        let new: Vec<_> = answers.iter().skip(skipped).filter(is_new).collect();
        let each = (new.len() as u64).div_ceil(MOST_DOTS).max(1);
        Snapshot {
            releases: order.iter().map(snapshot).collect(),
            dots: new.iter().step_by(each as usize).map(|answer| dot(answer)).collect(),
            each,
            next: gone + answers.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(release: &str, millis: u64, has_failed: bool) -> Answer {
        let path = ServingPath::new(&[("app", release), ("storage", release)]);
        let latency = Duration::from_millis(millis);
        Answer { path: Some(path), latency, is_vote: true, has_failed }
    }

    #[tokio::test(start_paused = true)]
    async fn the_split_is_that_of_the_last_seconds() {
        let picture = Picture::default();
        for _ in 0..30 {
            picture.answer(&answer("2.0", 5, false));
        }
        tokio::time::advance(WINDOW + Duration::from_millis(1)).await;
        for number in 0..20 {
            picture.answer(&answer("1.0", number + 1, false));
        }
        picture.answer(&Answer { path: None, ..answer("1.0", 5, true) });
        for number in 0..5 {
            picture.answer(&answer("2.0", 900, number == 0));
        }
        let Snapshot { releases, next, .. } = picture.snapshot(0);
        let names: Vec<_> = releases.iter().map(|release| release.release.name.as_str()).collect();
        assert_eq!((names, next), (vec!["1.0", "2.0", UNNAMED], 56));
        let numbers: Vec<_> = releases.iter().map(|release| (release.answers, release.errors)).collect();
        assert_eq!(numbers, [(20, 0), (5, 1), (1, 1)]);
        assert!((releases[0].share - 20.0 / 26.0).abs() < 1e-9 && releases[0].per_second == 2.0);
        let millis = |place: usize| releases[place].latencies.unwrap().map(|latency| latency.as_millis());
        assert_eq!((millis(0), millis(1)), ([11, 20], [900, 900]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_viewer_gets_each_answer_once_and_the_rest_by_sample() {
        let picture = Picture::default();
        picture.answer(&answer("2.0", 1, false));
        let first = picture.snapshot(0);
        assert_eq!((first.dots.len(), first.each, first.next), (1, 1, 1));
        assert!(picture.snapshot(first.next).dots.is_empty());
        picture.answer(&answer("1.0", 7, true));
        tokio::time::advance(Duration::from_millis(100)).await;
        let second = picture.snapshot(first.next);
        let expected = Dot {
            release: 0,
            age: Duration::from_millis(100),
            latency: Duration::from_millis(7),
            is_vote: true,
            has_failed: true,
        };
        assert_eq!((second.dots, second.next), (vec![expected], 2));
        for _ in 0..1000 {
            picture.answer(&answer("1.0", 7, false));
        }
        let many = picture.snapshot(second.next);
        assert_eq!((many.dots.len(), many.each), (250, 4));
        // A viewer who comes back later, and one of an earlier run of the program.
        tokio::time::advance(WINDOW * 2).await;
        picture.answer(&answer("1.0", 7, false));
        assert_eq!((picture.snapshot(5).dots.len(), picture.snapshot(5_000_000).dots.len()), (1, 0));
    }

    #[test]
    fn a_release_that_turns_bad_says_so_until_it_is_good_again() {
        let picture = Picture::default();
        let bad = answer("2.0", 1, false).path.map(|path| path.with_faults("app", Some("error")));
        picture.answer(&Answer { path: bad, ..answer("2.0", 1, false) });
        picture.answer(&Answer { path: None, ..answer("2.0", 1, true) });
        let faults = || picture.snapshot(0).releases[0].release.faults.clone();
        assert_eq!(faults().as_deref(), Some("error"));
        picture.answer(&answer("2.0", 1, false));
        assert_eq!(faults(), None);
    }
}
