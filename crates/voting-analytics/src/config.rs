//! The settings of the program.

use std::time::Duration;

use clap::Parser;
use voting_service::check::Command;
use voting_service::config::ServeArgs;
use voting_service::release::{AnalyticsRelease, Release};
use voting_storage::config::{PollArgs, StoreArgs};

/// How long a read may take, retries included. Shorter than voting-app waits for the answer.
pub const READ_LIMITS: Duration = Duration::from_millis(1000);

/// Serves what the votes add up to: GET /analytics.
#[derive(Parser, Debug)]
#[command(name = "voting-analytics", version, about)]
pub struct Config {
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
