//! The facts of the picture as texts, for the page and for its script.

use std::time::Duration;

use askama::Template;
use serde::Serialize;
use voting_core::release::{AppRelease, Release};

use super::{BURST, ICON, SCRIPT, STYLE, Settings};
use crate::picture::{ReleaseSnapshot, Snapshot, UNNAMED};
use crate::plan::Progress;

/// The page.
#[derive(Template)]
#[template(path = "split.html")]
pub(super) struct SplitPage<'a> {
    pub(super) settings: &'a Settings,
    pub(super) data: Data,
    /// Whether the page reloads itself without scripts.
    pub(super) reloads: bool,
}

impl SplitPage<'_> {
    /// The place of the slider: at its end if there is no rate.
    fn slider(&self) -> u32 {
        self.data.rate.unwrap_or(self.settings.most_rate)
    }
}

/// The facts of the picture.
#[derive(Debug, Serialize)]
pub(super) struct Data {
    /// What the load does at present.
    state: String,
    /// `None` is as fast as the answers allow.
    rate: Option<u32>,
    votes: bool,
    votes_text: &'static str,
    releases: Vec<ReleaseView>,
    groups: Vec<Group>,
    /// Answers: the place of the release, the age and the latency in milliseconds, whether it failed, and whether it is one to a
    /// vote, as 0 or 1.
    dots: Vec<[u64; 5]>,
    /// Number of answers that a dot stands for.
    each: u64,
    next: u64,
}

/// A lane of the picture.
#[derive(Debug, Serialize)]
struct ReleaseView {
    name: String,
    /// A class of the style sheet.
    theme: &'static str,
    /// From 0 to 1.
    share: f64,
    share_text: String,
    errors: String,
    has_errors: bool,
    latency: String,
    /// Something to know about it: its faults, or its broken promises.
    warning: String,
}

/// Lines of the table.
#[derive(Debug, Serialize)]
struct Group {
    title: &'static str,
    lines: Vec<Line>,
}

/// A line of the table: a cell for each release.
#[derive(Debug, Serialize)]
struct Line {
    title: &'static str,
    cells: Vec<String>,
}

impl Data {
    pub(super) fn new(progress: &Progress, snapshot: &Snapshot) -> Self {
        let pace = progress.pace();
        let releases = &snapshot.releases;
        let line = |title, cell: &dyn Fn(&ReleaseSnapshot) -> String| Line {
            title,
            cells: releases.iter().map(cell).collect(),
        };
        // Without ballots there is nothing to account for.
        let count = |release: &ReleaseSnapshot, number: u64| {
            if release.has_ballots() { number.to_string() } else { NOTHING.to_owned() }
        };
        let last = Group {
            title: "The last 10 seconds",
            lines: vec![
                line("Share of the answers", &|release| percent(release.share)),
                line("Answers per second", &|release| format!("{:.1}", release.per_second)),
                line("Errors", &ReleaseSnapshot::error_rate),
                line("Latency, half of the answers", &|release| release.latency(0)),
                line("Latency, 99% of the answers", &|release| release.latency(1)),
                line("Warnings", &|release| {
                    Some(release.warning())
                        .filter(|warning| !warning.is_empty())
                        .unwrap_or(NOTHING.to_owned())
                }),
            ],
        };
        let all = Group {
            title: "Since the start",
            lines: vec![
                line("Votes accepted", &|it| count(it, it.release.accepted)),
                line("Votes refused", &|it| count(it, it.release.refused)),
                line("Votes in doubt", &|it| count(it, it.release.unknown)),
                line("Votes lost", &|it| count(it, it.release.verdict.missing)),
                line("Votes doubled, or of others", &|it| count(it, it.release.verdict.extra)),
                line("Pages read", &|it| it.release.reads.to_string()),
                line("Stale pages", &|it| it.release.stale_reads.to_string()),
            ],
        };
        let flag = u64::from;
        Self {
            state: state(progress),
            rate: pace.rate(),
            votes: !pace.views_only(),
            votes_text: if pace.views_only() {
                "No votes are cast yet, pages are only viewed. Switch on “Vote as well”, and the votes count in your poll."
            } else {
                "These votes count in your poll."
            },
            releases: releases.iter().map(ReleaseView::new).collect(),
            groups: vec![last, all],
            dots: snapshot
                .dots
                .iter()
                .map(|dot| {
                    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                    [
                        dot.release as u64,
                        millis(dot.age),
                        millis(dot.latency),
                        flag(dot.has_failed),
                        flag(dot.is_vote),
                    ]
                })
                .collect(),
            each: snapshot.each,
            next: snapshot.next,
        }
    }
}

/// A cell without a fact.
const NOTHING: &str = "–";

fn state(progress: &Progress) -> String {
    let (cast, audited) = (progress.cast(), progress.audited());
    if progress.is_over() {
        return format!("The load has ended. Audit: {audited} of {cast} ballots");
    }
    let what = if progress.pace().views_only() { "page views" } else { "votes" };
    match progress.pace().rate() {
        Some(0) => "The load is at rest".to_owned(),
        Some(rate) => format!("{rate} {what} a second"),
        None => "As many votes as the answers allow".to_owned(),
    }
}

/// A share as a whole percentage; a small one is not nothing, and most is not all.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent.round() {
        0.0 if share > 0.0 => "<1%".to_owned(),
        100.0 if share < 1.0 => ">99%".to_owned(),
        percent => format!("{percent:.0}%"),
    }
}

impl ReleaseSnapshot {
    fn has_ballots(&self) -> bool {
        self.release.accepted + self.release.refused + self.release.unknown > 0
    }

    fn error_rate(&self) -> String {
        if self.answers == 0 { NOTHING.to_owned() } else { percent(self.errors as f64 / self.answers as f64) }
    }

    /// A broken promise, and the faults of a bad release.
    fn warning(&self) -> String {
        let missing = self.release.verdict.missing;
        let lost = (self.has_ballots() && missing > 0).then(|| format!("votes lost: {missing}"));
        let faults = self.release.faults.as_ref();
        let faults = faults.map(|faults| format!("bad release: {}", faults.replace('.', ", ")));
        lost.into_iter().chain(faults).collect::<Vec<_>>().join("; ")
    }

    fn latency(&self, place: usize) -> String {
        self.latencies.map_or_else(|| NOTHING.to_owned(), |latencies| time(latencies[place]))
    }
}

fn time(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    match millis {
        ..9.95 => format!("{millis:.1} ms"),
        ..999.5 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

impl ReleaseView {
    fn new(snapshot: &ReleaseSnapshot) -> Self {
        let release = &snapshot.release;
        let is_named = release.name != UNNAMED;
        let theme =
            release.name.parse::<Release<AppRelease>>().map_or("release-other", |known| known.0.theme);
        Self {
            name: if is_named { release.name.clone() } else { "No release".to_owned() },
            theme: if is_named { theme } else { "release-none" },
            share: snapshot.share,
            share_text: percent(snapshot.share),
            errors: snapshot.error_rate(),
            has_errors: snapshot.errors > 0,
            latency: snapshot.latency(1),
            warning: snapshot.warning(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_nothing_or_all_only_if_it_is() {
        for (share, text) in
            [(0.0, "0%"), (0.001, "<1%"), (0.1, "10%"), (0.666, "67%"), (0.999, ">99%"), (1.0, "100%")]
        {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn a_latency_has_two_or_three_digits() {
        for (micros, text) in
            [(800, "0.8 ms"), (9_960, "10 ms"), (42_400, "42 ms"), (999_700, "1.0 s"), (2_050_000, "2.0 s")]
        {
            assert_eq!(time(Duration::from_micros(micros)), text);
        }
    }
}
