//! Settings.

use std::time::Duration;

use clap::Parser;
use voting_config::{PollArgs, StoreArgs};
use voting_core::release::{AnalyticsRelease, Release};
use voting_faults::FaultPlan;
use voting_http::check::Command;
use voting_http::config::ServeArgs;

/// Deadline of a read, retries included. Shorter than the deadline of voting-app's request.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_millis(1000);

/// Serve the results of the poll: GET /analytics.
#[derive(Parser, Debug)]
#[command(name = "voting-analytics", version, about)]
pub struct Cli {
    /// Subcommand to run instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Release to serve: 1.0 (counts), 1.1 (totals and percentages) or 2.0 (the same, from MySQL).
    #[arg(long, env = "RELEASE", value_name = "RELEASE", default_value = "1.0")]
    pub release: Release<AnalyticsRelease>,

    /// Listener and shutdown settings.
    #[command(flatten)]
    pub serve: ServeArgs,

    /// The choices of the poll.
    #[command(flatten)]
    pub poll: PollArgs,

    /// The store of the votes.
    #[command(flatten)]
    pub store: StoreArgs,

    /// Faults to inject, to rehearse a canary that fails: a list of error=RATE, latency=TIME, tail=RATE:TIME, slow-start=TIME,
    /// crash-after=REQUESTS, leak=SIZE, lying-readyz, failing-livez, wrong-summary=RATE, seed=NUMBER, separated by commas. An
    /// example: error=5%,tail=1%:2s,wrong-summary=20%,seed=42. Never set it on a real poll. [default: no faults]
    #[arg(long, env = "FAULTS", value_name = "LIST", value_parser = FaultPlan::of_analytics)]
    pub faults: Option<FaultPlan>,
}
