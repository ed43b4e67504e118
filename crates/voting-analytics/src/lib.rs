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
use voting_http::admin::AdminPort;
use voting_http::check::{Command, check};
use voting_http::lifecycle::Lifecycle;
use voting_http::program::Program;
use voting_http::telemetry::{self, DEFAULT_LOG};

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
    let _telemetry =
        telemetry::start(AnalyticsRelease::COMPONENT, release.version, cli.serve.log_format, DEFAULT_LOG)?;
    let url = cli.store.url(release.storage.kind)?;
    let (analytics, registry) = Analytics::open(release, cli.poll.choices()?, &url, cli.faults)?;
    let program = Program {
        name: AnalyticsRelease::COMPONENT,
        release: release.version,
        admin: AdminPort::new(
            analytics.store.clone(),
            &analytics.choices,
            registry,
            routes::OPENAPI,
            analytics.faults.clone(),
        ),
        lifecycle: Lifecycle::new(),
        routes: routes::routes(analytics),
    };
    program.run(&cli.serve).await
}
