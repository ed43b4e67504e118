//! The settings of the program.

use std::time::Duration;

use clap::Parser;
use voting_config::{PollArgs, StoreArgs};
use voting_core::release::{AnalyticsRelease, Release};
use voting_http::check::Command;
use voting_http::config::ServeArgs;

/// How long a read may take, retries included. Shorter than voting-app waits for the answer.
pub const READ_TIMEOUT: Duration = Duration::from_millis(1000);

/// Serves what the votes add up to: GET /analytics.
#[derive(Parser, Debug)]
#[command(name = "voting-analytics", version, about)]
pub struct Cli {
    /// What it does instead.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Release that is served: 1.0 (counts), 1.1 (totals and percentages) or 2.0 (the same, from MySQL).
    #[arg(long, env = "RELEASE", value_name = "RELEASE", default_value = "1.0")]
    pub release: Release<AnalyticsRelease>,

    /// Where it listens and how it leaves.
    #[command(flatten)]
    pub serve: ServeArgs,

    /// What is voted for.
    #[command(flatten)]
    pub poll: PollArgs,

    /// Where the votes are.
    #[command(flatten)]
    pub store: StoreArgs,
}
