//! Settings.

use std::time::Duration;

use clap::Parser;
use voting_config::{PollArgs, StoreArgs};
use voting_core::release::{AnalyticsRelease, Release};
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
}
