//! The table, and the document that contains it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use tokio::process::Command;
use voting_tests::servers::find_program;

use crate::load::Measured;
use crate::open_loop::Answered;

/// The lines of the document between which the benchmark writes.
pub type Marks = [&'static str; 2];

/// Those of the scenarios.
pub const SCENARIOS: Marks = ["<!-- measured by cargo xtask bench -->", "<!-- end of what was measured -->"];

/// Those of a poll of many ballots.
pub const POLL: Marks =
    ["<!-- measured by cargo xtask bench --poll -->", "<!-- end of what was measured of the poll -->"];

/// The parts of a document before and after these lines.
///
/// # Errors
/// The document is unreadable or has no marks.
pub fn around(document: &Path, [begin, end]: Marks) -> anyhow::Result<(String, String)> {
    let text = std::fs::read_to_string(document).with_context(|| document.display().to_string())?;
    let marked = text.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) =
        marked.with_context(|| format!("{}: the lines {begin} and {end} are missing", document.display()))?;
    Ok((before.to_owned(), after.to_owned()))
}

/// Replaces the table of a document.
///
/// # Errors
/// Those of [`around`], or a failed write.
pub fn write(text: &str, document: &Path, marks: Marks) -> anyhow::Result<()> {
    let ((before, after), [begin, end]) = (around(document, marks)?, marks);
    std::fs::write(document, format!("{before}{begin}\n\n{text}\n{end}{after}"))
        .with_context(|| document.display().to_string())
}

const REACHED: &str = "reached";
const MISSED: &str = "**missed**";

/// All results.
#[derive(Default)]
pub struct Report {
    pub rows: Vec<Row>,
    pub overloads: Vec<Overload>,
    figures: Vec<Figure>,
}

/// A scenario and its baseline, round by round.
pub struct Row {
    scenario: String,
    /// Connections of all load generators.
    pub connections: usize,
    baseline_name: String,
    goal: f64,
    pub baseline: Vec<Measured>,
    pub measured: Vec<Measured>,
}

/// Votes at a multiple of the rate that the store takes.
pub struct Overload {
    /// The multiple.
    pub times: u64,
    /// The accepted votes per second of a load that waits for its answers.
    pub peak: f64,
    pub answered: Answered,
    /// Seconds from the end of the load until a vote takes no longer than without load.
    pub recovery: f64,
}

impl Overload {
    /// The share of the peak that has to be accepted.
    const GOAL: f64 = 0.9;

    /// The row in Markdown.
    pub fn line(&self) -> String {
        let Answered { offered, accepted, accepted_p99, rejected_p99, .. } = self.answered;
        let ratio = accepted / self.peak;
        let verdict = if ratio >= Self::GOAL { REACHED } else { MISSED };
        let rejected_p99 = rejected_p99.map_or("none".to_owned(), |time| format!("{time:.0} ms"));
        format!(
            "| {} | {offered:.0} | {accepted:.0} | {ratio:.2} | {:.1}, {verdict} | {accepted_p99:.0} ms | {rejected_p99} | {:.1} s |",
            self.times,
            Self::GOAL,
            self.recovery
        )
    }
}

/// A figure with an upper limit as its goal.
struct Figure {
    what: &'static str,
    value: f64,
    goal: f64,
    unit: &'static str,
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Row {
    /// A row without rounds. A goal of NaN is no goal.
    pub fn new(scenario: impl Into<String>, connections: usize, baseline: &str, goal: f64) -> Self {
        Self {
            scenario: scenario.into(),
            connections,
            baseline_name: baseline.to_owned(),
            goal,
            baseline: Vec::new(),
            measured: Vec::new(),
        }
    }

    pub fn name(&self) -> String {
        format!("{} with {} connections, baseline {}", self.scenario, self.connections, self.baseline_name)
    }

    fn median_of(rounds: &[Measured], value: impl Fn(&Measured) -> f64) -> f64 {
        median(rounds.iter().map(value).collect())
    }

    fn ratio(&self) -> f64 {
        let rounds = self.measured.iter().zip(&self.baseline);
        median(rounds.map(|(measured, baseline)| measured.rate / baseline.rate).collect())
    }

    /// The row in Markdown.
    pub fn line(&self) -> String {
        let rate = |rounds| Self::median_of(rounds, |measured| measured.rate);
        let tail = |rounds| Self::median_of(rounds, |measured| measured.p99);
        let (ratio, goal) = (self.ratio(), self.goal);
        let goal = if goal.is_nan() {
            "none".to_owned()
        } else {
            format!("{goal:.2}, {}", if ratio >= goal { REACHED } else { MISSED })
        };
        format!(
            "| {} | {} | {}: {:.0} | {:.0} | {ratio:.2} | {goal} | {:.1} / {:.1} ms |",
            self.scenario,
            self.connections,
            self.baseline_name,
            rate(&self.baseline),
            rate(&self.measured),
            tail(&self.baseline),
            tail(&self.measured)
        )
    }
}

impl Report {
    /// Responses with an unexpected status, of all rounds.
    pub fn errors(&self) -> u64 {
        let rounds = self.rows.iter().flat_map(|row| row.baseline.iter().chain(&row.measured));
        rounds.map(|round| round.errors).sum::<u64>()
            + self.overloads.iter().map(|overload| overload.answered.errors).sum::<u64>()
    }

    /// Adds a figure and its upper limit.
    pub fn figure(&mut self, what: &'static str, value: f64, goal: f64, unit: &'static str) {
        self.figures.push(Figure { what, value, goal, unit });
    }

    /// The report in Markdown.
    pub fn text(&self, rounds: u64, seconds: u64, machine: &str) -> String {
        let mut text = format!(
            "{machine}\n\n\
             Medians of {rounds} rounds of {seconds} seconds; each scenario alternates with its baseline. Rates are requests/s. The \
             ratio is the median of the rounds' ratios. The last column is the 99th percentile of the latency, of the baseline and of \
             voting-app.\n\n\
             | scenario | connections | baseline | voting-app | ratio | goal | p99 |\n\
             |---|---|---|---|---|---|---|\n"
        );
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.line());
        }
        if let Some(Overload { peak, .. }) = self.overloads.first() {
            let _ = write!(
                text,
                "\nVotes at a fixed rate on a Redis that takes 0.8 s for each answer, and so at most {peak:.0} votes/s.\n\n\
                 | times the capacity | offered/s | accepted/s | ratio | goal | p99 accepted | p99 rejected | back to normal after |\n\
                 |---|---|---|---|---|---|---|---|\n"
            );
        }
        for overload in &self.overloads {
            let _ = writeln!(text, "{}", overload.line());
        }
        if !self.figures.is_empty() {
            text += "\n| figure | measured | goal |\n|---|---|---|\n";
        }
        for Figure { what, value, goal, unit } in &self.figures {
            let verdict = if value <= goal { REACHED } else { MISSED };
            let _ = writeln!(text, "| {what} | {value:.1} {unit} | {goal:.0} {unit}, {verdict} |");
        }
        text
    }
}

/// The date, the hardware and the versions of the software.
pub async fn machine() -> String {
    let output = async |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().await.ok()?;
        Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned())
    };
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let date = output("date", "+%Y-%m-%d").await.unwrap_or_default();
    let mut parts =
        vec![date, format!("{cores} cores of {}", cpu.trim_start_matches([' ', '\t', ':']).trim())];
    for names in [["redis-server", "valkey-server"], ["mysqld", "mariadbd"], ["rustc", "rustc"]] {
        if let Some(program) = find_program(&names) {
            parts.extend(
                output(&program.to_string_lossy(), "--version")
                    .await
                    .map(|version| version.replace(&*program.to_string_lossy(), names[0])),
            );
        }
    }
    format!("{}.", parts.join(". "))
}
