//! The vote ledger as a program: see `--help`.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use voting_tests::faults::{Cluster, ClusterRelease, Fault};
use voting_tests::ledger::{self, Plan, Progress, Report};

/// Casts votes on a running poll and accounts for each one, or puts a cluster of its own through every fault.
///
/// Nobody else may vote or reset the poll meanwhile. The exit code is not 0 if a vote was lost or doubled, a refused
/// one counted, or a voter shown an old result.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask ledger", bin_name = "cargo xtask ledger")]
struct Arguments {
    /// URL of the page, as http://localhost:8080.
    #[arg(long, value_name = "URL", required_unless_present = "faults")]
    url: Option<String>,

    /// URL of voting-analytics, whose /analytics is compared; without it, the page's own numbers are.
    #[arg(long, value_name = "URL")]
    analytics_url: Option<String>,

    /// Voters at the same time.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=2000))]
    voters: u16,

    /// Ballots in all; with --faults 100000 if it is not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    ballots: Option<u64>,

    /// Send a ballot that was not accepted again, under the same id, as a browser or a mesh would.
    #[arg(long)]
    retry: bool,

    /// Names of the two choices.
    #[arg(long, value_name = "NAME", num_args = 2, default_values = ["Cats", "Dogs"])]
    choices: Vec<String>,

    /// Start a cluster of the real programs for each release, on a store of its own, and put it through every fault
    /// twice and a start of eight replicas at once.
    #[arg(long, conflicts_with_all = ["url", "analytics_url", "retry"])]
    faults: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = if arguments.faults { faults(&arguments).await } else { load(&arguments).await };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("ledger: the promise does not hold: see the table");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("ledger: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A load on the poll that runs at the URL.
async fn load(arguments: &Arguments) -> anyhow::Result<bool> {
    let without_slash = |url: &String| url.trim_end_matches('/').to_owned();
    let plan = Plan {
        url: arguments.url.as_ref().map(without_slash).unwrap_or_default(),
        analytics_url: arguments.analytics_url.as_ref().map(without_slash),
        choices: [arguments.choices[0].clone(), arguments.choices[1].clone()],
        voters: arguments.voters.into(),
        ballots: arguments.ballots.unwrap_or(10_000),
        retry: arguments.retry,
        pause: Duration::ZERO,
    };
    let progress = Progress::default();
    let bar = tokio::spawn(show(progress.clone(), plan.ballots));
    let report = ledger::run(&plan, &progress).await;
    bar.abort();
    let report = report?;
    println!("{report}");
    Ok(report.is_clean())
}

/// How far it is: a bar on a terminal, a line now and then elsewhere.
async fn show(progress: Progress, ballots: u64) {
    // A ballot is cast, then audited.
    let bar = ProgressBar::with_draw_target(Some(2 * ballots), ProgressDrawTarget::stderr());
    if let Ok(style) =
        ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} cast and audited, {per_sec}")
    {
        bar.set_style(style);
    }
    let is_terminal = std::io::stderr().is_terminal();
    for second in 0_u64.. {
        let (cast, audited) = (progress.cast(), progress.audited());
        bar.set_position(cast + audited);
        if !is_terminal && second % 10 == 9 {
            eprintln!("{cast} cast, {audited} audited of {ballots}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Every fault twice for each release, then eight replicas at once.
async fn faults(arguments: &Arguments) -> anyhow::Result<bool> {
    let (ballots, voters) = (arguments.ballots.unwrap_or(100_000), arguments.voters.into());
    let mut reports: Vec<Report> = Vec::new();
    let twice = [Fault::ALL, Fault::ALL].concat();
    for (release, replicas, faults, share) in [
        (ClusterRelease::One, 2, twice.as_slice(), ballots / 2),
        (ClusterRelease::Two, 2, twice.as_slice(), ballots / 2),
        (ClusterRelease::One, 8, &[], ballots / 50),
        (ClusterRelease::Two, 8, &[], ballots / 50),
    ] {
        println!(
            "\nRelease {release:?}, {replicas} replicas, {} faults, at least {share} ballots",
            faults.len()
        );
        let mut cluster = Cluster::start(release, replicas).await;
        let report = cluster.run(faults, share, voters, |line| println!("  {line}")).await?;
        println!("{report}");
        reports.push(report);
    }
    let sum = |number: fn(&Report) -> u64| reports.iter().map(number).sum::<u64>();
    println!(
        "\nIn all: {} ballots, {} faults, lost {}, doubled {}, counted though refused {}, stale reads {}",
        sum(Report::ballots),
        2 * twice.len() + 2,
        sum(|report| report.lost),
        sum(|report| report.doubled),
        sum(|report| report.counted_though_refused),
        sum(|report| report.stale_reads),
    );
    Ok(reports.iter().all(Report::is_clean))
}
