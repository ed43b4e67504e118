//! The scenarios, in rounds that alternate with their baselines.

mod mysql;
mod old;
mod overload;
mod process;
mod redis;
mod sharded;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use voting_config::number;
use voting_tests::deployment::Deployment;
use voting_tests::http::Visitor;

use crate::load::{Measured, Scenario};
use crate::poll;
use crate::report::{self, Report, Row, machine};
use crate::target::{Baseline, load};

/// Arguments of a benchmark.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Rounds of each scenario. The results are medians.
    #[arg(long, default_value_t = 5, value_parser = number::<u64>(1..=1000))]
    rounds: u64,
    /// Measured seconds of a round.
    #[arg(long, default_value_t = 4, value_parser = number::<u64>(1..=60))]
    seconds: u64,
    /// Ballots in the large store.
    #[arg(long, default_value_t = 10_000_000, value_parser = number(0..=u64::MAX))]
    ballots: u64,
    /// Number of live viewers.
    #[arg(long, default_value_t = 1000, value_parser = number::<usize>(1..=100_000))]
    viewers: usize,
    /// Run only this part; the document stays as it is.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Compare with the voting-app and voting-analytics of another build in this folder, which serve as the baseline; the
    /// document stays as it is.
    #[arg(long, value_name = "DIR", conflicts_with = "only")]
    old: Option<PathBuf>,
    /// Cast this number of ballots on each store instead, and measure the poll as it grows.
    #[arg(long, value_name = "BALLOTS", conflicts_with_all = ["only", "old", "rounds", "seconds", "ballots", "viewers"], value_parser = number::<u64>(1000..=1_000_000_000))]
    poll: Option<u64>,
    /// Document to update.
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.md")]
    output: PathBuf,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Pages, votes and live viewers of release 1.0.
    Redis,
    /// Pages and votes of release 2.0, and analytics on a store with many ballots.
    Mysql,
    /// Votes through several apps on one database and on several shards.
    Sharded,
    /// Votes at several times the rate that a slow store takes.
    Overload,
    /// Start-up time, and the size of the program.
    Process,
}

/// Runs the benchmark and prints the table.
pub async fn run(arguments: &RunArgs) -> anyhow::Result<()> {
    let updates_document = arguments.only.is_none() && arguments.old.is_none();
    let marks = if arguments.poll.is_some() { report::POLL } else { report::SCENARIOS };
    if updates_document {
        // A document without marks is an error before the benchmark, not after it.
        report::around(&arguments.output, marks)?;
    }
    if let Some(ballots) = arguments.poll {
        let bar = bar();
        let text = poll::measure(ballots, &bar).await?;
        bar.finish_and_clear();
        println!("{text}");
        return report::write(&text, &arguments.output, marks);
    }
    let mut bench = Bench { arguments, bar: bar(), report: Report::default() };
    if let Some(old) = &arguments.old {
        bench.against(old).await?;
    } else {
        bench.parts().await?;
    }
    bench.bar.finish_and_clear();

    let report = bench.report;
    let text = report.text(arguments.rounds, arguments.seconds, &machine().await);
    println!("{text}");
    ensure!(report.errors() == 0, "{} responses had an unexpected status", report.errors());
    if updates_document {
        report::write(&text, &arguments.output, marks)?;
    }
    Ok(())
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::no_length().with_style(style);
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}

struct Bench<'a> {
    arguments: &'a RunArgs,
    bar: ProgressBar,
    report: Report,
}

impl Bench<'_> {
    async fn parts(&mut self) -> anyhow::Result<()> {
        let only = self.arguments.only;
        let wants = |part| only.is_none_or(|only| only == part);
        if wants(Part::Redis) {
            self.on_redis().await?;
        }
        if wants(Part::Mysql) {
            self.on_mysql().await?;
        }
        if wants(Part::Sharded) {
            self.sharded().await?;
        }
        if wants(Part::Overload) {
            self.overload().await?;
        }
        if wants(Part::Process) {
            self.process().await?;
        }
        Ok(())
    }

    /// Runs the rounds of a scenario: the baseline, then the target.
    async fn compare(
        &mut self,
        mut row: Row,
        scenario: Scenario,
        baseline: &[SocketAddr],
        target: &[SocketAddr],
    ) -> anyhow::Result<()> {
        for round in 1..=self.arguments.rounds {
            row.baseline.push(self.load(&row, round, scenario, baseline).await?);
            row.measured.push(self.load(&row, round, scenario, target).await?);
        }
        self.keep(row);
        Ok(())
    }

    /// Runs the load of a round, with one process per address.
    async fn load(
        &self,
        row: &Row,
        round: u64,
        scenario: Scenario,
        addresses: &[SocketAddr],
    ) -> anyhow::Result<Measured> {
        let RunArgs { rounds, seconds, .. } = *self.arguments;
        self.bar.set_message(format!("round {round} of {rounds}: {}", row.name()));
        let connections = row.connections / addresses.len();
        let loads: Vec<_> = addresses
            .iter()
            .map(|address| tokio::spawn(load(*address, scenario, connections, seconds)))
            .collect();
        let mut all = Measured::default();
        for load in loads {
            all.add(&load.await??);
        }
        Ok(all)
    }

    /// Adds a row to the report and shows it.
    fn keep(&mut self, row: Row) {
        self.show(&row.line());
        self.report.rows.push(row);
    }

    /// Shows a line of the report.
    fn show(&self, line: &str) {
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// Pages of these services, with two programs whose responses have the same sizes as the baseline.
    async fn pages(&mut self, what: &str, services: &Deployment, goal: f64) -> anyhow::Result<()> {
        let page = services.visitor().get("/").await.text.len();
        let upstream = static_summary(services).await?;
        let baseline =
            Baseline::start("two-hop", &format!("http://{}/analytics", upstream.address), page).await?;
        for connections in [32, 256] {
            let row = Row::new(format!("`GET /`, {what}"), connections, "two-hop page", goal);
            self.compare(row, Scenario::Page, &[baseline.address], &[services.app.address]).await?;
        }
        Ok(())
    }
}

/// A baseline whose response has the size of these services' summary.
async fn static_summary(services: &Deployment) -> anyhow::Result<Baseline> {
    let summary = Visitor::new(services.analytics.url("")).get("/analytics").await.text;
    Baseline::start("static", "", summary.len()).await
}
