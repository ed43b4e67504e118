//! voting-analytics: the results of the poll as JSON.
//!
//! - [`cli`]: the settings.
//! - [`routes`]: the HTTP routes; [`contract`]: their JSON.
//! - [`Analytics`]: the state that the routes share.
//!
//! The internal module `summary` words the results.

mod analytics;
pub mod cli;
pub mod contract;
pub mod routes;
mod summary;

use voting_core::release::{AnalyticsRelease, Released as _};
use voting_http::check::{Command, check};
use voting_http::lifecycle::Lifecycle;
use voting_http::program::Program;

pub use crate::analytics::Analytics;
use crate::cli::Cli;

/// Serves until the program is told to shut down, or runs the subcommand.
///
/// # Errors
/// One line for the operator: an invalid setting, a port that can't be listened on, or a failed `check`.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    if let Some(Command::Check) = cli.command {
        return check(&cli.serve).await;
    }
    let release = cli.release.0;
    let url = cli.store.url(release.storage.kind)?;
    let (analytics, registry) = Analytics::open(release, cli.poll.choices()?, &url)?;
    let program = Program {
        name: AnalyticsRelease::COMPONENT,
        release: release.version,
        store: analytics.store.clone(),
        choices: analytics.choices.clone(),
        registry,
        lifecycle: Lifecycle::new(),
        api: routes::api(),
        routes: routes::routes(analytics),
    };
    program.run(&cli.serve).await
}
