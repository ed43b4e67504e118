//! The vote ledger: see `--help`.

mod nemesis;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use voting_config::number;
use voting_load::{Forms, Plan, Progress, Report, Voting, progress};
use voting_tests::faults::{Cluster, ClusterRelease, Fault};

/// Cast votes on a running poll and account for each one, or inject faults into a temporary cluster.
///
/// The poll must have no other votes or resets meanwhile. The exit code is not 0 if a vote was lost or doubled, a refused
/// vote was counted, or a result was stale.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask ledger", bin_name = "cargo xtask ledger")]
struct Cli {
    /// URL of the page, for example http://localhost:8080.
    #[arg(long, value_name = "URL", required_unless_present_any = ["faults", "nemesis"])]
    url: Option<String>,

    /// URL of voting-analytics, to read the results from /analytics instead of the page.
    #[arg(long, value_name = "URL")]
    analytics_url: Option<String>,

    /// Number of concurrent voters.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = number::<u16>(1..=2000))]
    voters: u16,

    /// Total number of ballots [default: 10000, with --faults 100000].
    #[arg(long, value_name = "N", value_parser = number::<u64>(1..=10_000_000))]
    ballots: Option<u64>,

    /// Retry ballots that were not accepted, with the same id.
    #[arg(long)]
    retry: bool,

    /// Names of the two choices.
    #[arg(long, value_name = "NAME", num_args = 2, default_values = ["Cats", "Dogs"])]
    choices: Vec<String>,

    /// Start a cluster of the real programs and a store for each release. Inject every fault twice, then start eight
    /// replicas concurrently.
    #[arg(long, conflicts_with_all = ["url", "analytics_url", "retry"])]
    faults: bool,

    #[command(flatten)]
    nemesis: nemesis::NemesisArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Cli = match voting_config::parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("ledger: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = if arguments.nemesis.nemesis {
        nemesis::run(&arguments.nemesis).await
    } else if arguments.faults {
        faults(&arguments).await
    } else {
        load(&arguments).await
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("ledger: votes were lost, doubled or stale: see above");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("ledger: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How long the results are watched for votes of others.
const WATCH: Duration = Duration::from_secs(1);

/// Runs a load on the poll at the URL.
async fn load(arguments: &Cli) -> anyhow::Result<bool> {
    let without_slash = |url: &String| url.trim_end_matches('/').to_owned();
    let forms = Forms {
        choices: [arguments.choices[0].clone(), arguments.choices[1].clone()],
        analytics_url: arguments.analytics_url.as_ref().map(without_slash),
        ..Forms::default()
    };
    let url = arguments.url.as_ref().map(without_slash).unwrap_or_default();
    let plan = Plan::until_stopped(url, Voting::Forms(forms), arguments.voters.into(), Duration::ZERO);
    let ballots = arguments.ballots.unwrap_or(10_000);
    let plan = Plan { ballots, retry: arguments.retry, watch: WATCH, ..plan };
    let progress = Progress::default();
    let bar = progress::show(progress.clone(), Some(ballots));
    let report = voting_load::run(&plan, &progress).await;
    drop(bar);
    let report = report?;
    println!("{report}");
    Ok(report.is_clean())
}

/// Injects every fault twice per release, then starts eight replicas concurrently.
async fn faults(arguments: &Cli) -> anyhow::Result<bool> {
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
        "\nTotal: {} ballots, {} faults, lost {}, doubled {}, refused but counted {}, stale reads {}",
        sum(Report::ballots),
        2 * twice.len() + 2,
        sum(|report| report.total.lost),
        sum(|report| report.total.doubled),
        sum(|report| report.total.counted_though_refused),
        sum(|report| report.total.stale_reads),
    );
    Ok(reports.iter().all(Report::is_clean))
}
