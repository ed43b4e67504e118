//! The whole measurement: each scenario in rounds that alternate with its limit.

mod mysql;
mod process;
mod redis;
mod sharded;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use voting_tests::deployment::Deployment;
use voting_tests::http::Visitor;

use crate::load::{Measured, Scenario};
use crate::report::{self, Report, Row, machine};
use crate::target::{Baseline, load};

/// How much is measured.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Rounds of each scenario; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Seconds of load in a round.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Ballots that the large store holds.
    #[arg(long, default_value_t = 10_000_000)]
    ballots: u64,
    /// Live viewers.
    #[arg(long, default_value_t = 1000)]
    viewers: usize,
    /// Measure only this, and write no document.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// The document whose measured part is written anew.
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.md")]
    output: PathBuf,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Pages, votes and live viewers of release 1.0.
    Redis,
    /// Pages and votes of release 2.0, and analytics on a store with many ballots.
    Mysql,
    /// Votes through several apps on one database and on several.
    Sharded,
    /// How long a start takes, and how large the program is.
    Process,
}

/// Measures everything.
pub async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.only.is_none() {
        // Before the long scenario, not after it.
        report::around(&arguments.output)?;
    }
    let mut bench = Bench { arguments, bar: bar(), report: Report::default() };
    let wants = |part| arguments.only.is_none_or(|only| only == part);
    if wants(Part::Redis) {
        bench.on_redis().await?;
    }
    if wants(Part::Mysql) {
        bench.on_mysql().await?;
    }
    if wants(Part::Sharded) {
        bench.sharded().await?;
    }
    if wants(Part::Process) {
        bench.process().await?;
    }
    bench.bar.finish_and_clear();

    let report = bench.report;
    let text = report.text(arguments.rounds, arguments.seconds, &machine().await);
    println!("{text}");
    ensure!(report.wrong() == 0, "{} answers were wrong, so nothing was written", report.wrong());
    if arguments.only.is_none() {
        report::write(&text, &arguments.output)?;
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
    arguments: &'a Arguments,
    bar: ProgressBar,
    report: Report,
}

impl Bench<'_> {
    /// The rounds of a scenario: the limit, then ours.
    async fn compare(
        &mut self,
        mut row: Row,
        scenario: Scenario,
        limit: &[SocketAddr],
        ours: &[SocketAddr],
    ) -> anyhow::Result<()> {
        for round in 1..=self.arguments.rounds {
            row.limit.push(self.load(&row, round, scenario, limit).await?);
            row.ours.push(self.load(&row, round, scenario, ours).await?);
        }
        self.keep(row);
        Ok(())
    }

    /// The load of a round, from as many processes as there are addresses.
    async fn load(
        &self,
        row: &Row,
        round: u64,
        scenario: Scenario,
        addresses: &[SocketAddr],
    ) -> anyhow::Result<Measured> {
        let Arguments { rounds, seconds, .. } = *self.arguments;
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

    /// Keeps a row, and shows it at once, also where nobody sees the progress bar.
    fn keep(&mut self, row: Row) {
        if self.bar.is_hidden() {
            eprintln!("{}", row.line());
        } else {
            self.bar.println(row.line());
        }
        self.report.rows.push(row);
    }

    /// Pages of these services against the limit of a page: two programs with answers of the same sizes.
    async fn pages(&mut self, what: &str, services: &Deployment, goal: f64) -> anyhow::Result<()> {
        let page = services.visitor().get("/").await.text.len();
        let upstream = static_summary(services).await?;
        let limit =
            Baseline::start("two-hop", &format!("http://{}/analytics", upstream.address), page).await?;
        for connections in [32, 256] {
            let row = Row::new(format!("`GET /`, {what}"), connections, "two-hop page", goal);
            self.compare(row, Scenario::Page, &[limit.address], &[services.app.address]).await?;
        }
        Ok(())
    }
}

/// A program that answers a constant of the size of these services' summary.
async fn static_summary(services: &Deployment) -> anyhow::Result<Baseline> {
    let summary = Visitor::new(services.analytics.url("")).get("/analytics").await.text;
    Baseline::start("static", "", summary.len()).await
}
