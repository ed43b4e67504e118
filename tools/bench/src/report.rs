//! The table, and the file that keeps it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use tokio::process::Command;
use voting_tests::servers::find_program;

use crate::load::Measured;

/// What stands between these lines of a document is ours to write.
const MARKS: [&str; 2] = ["<!-- measured by cargo xtask bench -->", "<!-- end of what was measured -->"];

/// What a document has before and after its measured part.
///
/// # Errors
/// It can't be read, or has no marks.
pub fn around(document: &Path) -> anyhow::Result<(String, String)> {
    let [begin, end] = MARKS;
    let text = std::fs::read_to_string(document).with_context(|| document.display().to_string())?;
    let marked = text.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) =
        marked.with_context(|| format!("{}: it lacks the lines {begin} and {end}", document.display()))?;
    Ok((before.to_owned(), after.to_owned()))
}

/// Writes the measured part of a document anew.
///
/// # Errors
/// Those of [`around`], or it can't be written.
pub fn write(text: &str, document: &Path) -> anyhow::Result<()> {
    let (before, after) = around(document)?;
    let [begin, end] = MARKS;
    std::fs::write(document, format!("{before}{begin}\n\n{text}\n{end}{after}"))
        .with_context(|| document.display().to_string())
}

/// Everything that was measured.
#[derive(Default)]
pub struct Report {
    /// Rates against limits.
    pub rows: Vec<Row>,
    /// Single figures.
    figures: Vec<Figure>,
}

/// A scenario against its limit, round by round.
pub struct Row {
    scenario: String,
    /// Of all loads together.
    pub connections: usize,
    limit_name: String,
    goal: f64,
    /// The limit's rounds.
    pub limit: Vec<Measured>,
    /// Ours.
    pub ours: Vec<Measured>,
}

/// A figure that should stay below its goal.
struct Figure {
    what: &'static str,
    value: f64,
    goal: f64,
    unit: &'static str,
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Row {
    /// Without any round yet. A goal that is not a number is none.
    pub fn new(scenario: impl Into<String>, connections: usize, limit: &str, goal: f64) -> Self {
        Self {
            scenario: scenario.into(),
            connections,
            limit_name: limit.to_owned(),
            goal,
            limit: Vec::new(),
            ours: Vec::new(),
        }
    }

    /// What is measured, in words.
    pub fn name(&self) -> String {
        format!("{} with {} connections against {}", self.scenario, self.connections, self.limit_name)
    }

    fn of(rounds: &[Measured], value: impl Fn(&Measured) -> f64) -> f64 {
        median(rounds.iter().map(value).collect())
    }

    fn ratio(&self) -> f64 {
        median(self.ours.iter().zip(&self.limit).map(|(ours, limit)| ours.rate / limit.rate).collect())
    }

    /// As a line of the table.
    pub fn line(&self) -> String {
        let rate = |rounds| Self::of(rounds, |measured| measured.rate);
        let tail = |rounds| Self::of(rounds, |measured| measured.p99);
        let (ratio, goal) = (self.ratio(), self.goal);
        let (goal, verdict) = if goal.is_nan() {
            ("none".to_owned(), "")
        } else {
            (format!("{goal:.2}"), if ratio >= goal { "reached" } else { "**missed**" })
        };
        format!(
            "| {} | {} | {} | {:.0} ({:.1} ms) | {:.0} ({:.1} ms) | {ratio:.2} | {goal} | {verdict} |",
            self.scenario,
            self.connections,
            self.limit_name,
            rate(&self.limit),
            tail(&self.limit),
            rate(&self.ours),
            tail(&self.ours)
        )
    }
}

impl Report {
    /// Answers that were not right.
    pub fn wrong(&self) -> u64 {
        self.rows
            .iter()
            .flat_map(|row| row.limit.iter().chain(&row.ours))
            .map(|measured| measured.wrong)
            .sum()
    }

    /// Adds a figure and the most that it should be.
    pub fn figure(&mut self, what: &'static str, value: f64, goal: f64, unit: &'static str) {
        self.figures.push(Figure { what, value, goal, unit });
    }

    /// The report in Markdown.
    pub fn text(&self, rounds: u64, seconds: u64, machine: &str) -> String {
        let mut text = format!(
            "{machine}\n\n\
             Each scenario and its limit in turn, {rounds} rounds of {seconds} seconds; medians. Rates are answers a second, with the \
             time that 99 of 100 answers kept within. The ratio is the median of the rounds' ratios.\n\n\
             | scenario | connections | limit | limit a second (p99) | ours a second (p99) | ratio | goal | |\n\
             |---|---|---|---|---|---|---|---|\n"
        );
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.line());
        }
        if !self.figures.is_empty() {
            text += "\n| figure | measured | goal | |\n|---|---|---|---|\n";
        }
        for Figure { what, value, goal, unit } in &self.figures {
            let verdict = if value <= goal { "reached" } else { "**missed**" };
            let _ = writeln!(text, "| {what} | {value:.1} {unit} | {goal:.0} {unit} | {verdict} |");
        }
        text
    }
}

/// What it was measured on.
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
