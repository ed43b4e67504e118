//! voting-app: the page with the two buttons.
//!
//! - [`cli`]: the settings.
//! - [`routes`]: the HTTP routes, one file each, and the rendering of errors.
//! - [`App`]: the state that the routes share.
//! - [`form`] parses a vote form; [`notice`] is the cookie with its result.
//!
//! Internal modules: `analytics` is the client of voting-analytics; `live` follows the
//! results for all viewers of a pod; `page` is the HTML and `assets` its files; `error` is the error of every route;
//! `outcome` is the outcome of a vote and `metrics` counts it; `feature_flag` is the other cookie, and `cookie` sets
//! both; `base` is the page's address in the browser.

mod analytics;
mod app;
mod assets;
mod base;
pub mod cli;
mod cookie;
mod error;
mod feature_flag;
pub mod form;
mod live;
mod metrics;
pub mod notice;
mod outcome;
mod page;
pub mod routes;

use voting_core::release::{AppRelease, Released as _};
use voting_http::admin::AdminPort;
use voting_http::check::{Command, check};
use voting_http::lifecycle::Lifecycle;
use voting_http::program::Program;
use voting_http::telemetry::{self, DEFAULT_LOG};

pub use crate::analytics::{AnalyticsUrl, InvalidAnalyticsUrl};
pub use crate::app::{App, AppState, Config};
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
        telemetry::start(AppRelease::COMPONENT, release.version, cli.serve.log_format, DEFAULT_LOG)?;
    let url = cli.store.url(release.storage.kind)?;
    let analytics = cli.analytics_url()?;
    let lifecycle = Lifecycle::new();
    let config = Config {
        release,
        choices: cli.poll.choices()?,
        page: cli.page,
        proxy: cli.proxy,
        store: &url,
        analytics,
        max_viewers: cli.serve.client_limits().viewers(),
        faults: cli.faults,
    };
    let (app, registry) = App::open(config, lifecycle.clone())?;
    let program = Program {
        name: AppRelease::COMPONENT,
        release: release.version,
        admin: AdminPort::new(app.store.clone(), &app.choices, registry, routes::OPENAPI, app.faults.clone()),
        lifecycle,
        routes: routes::routes(app),
    };
    program.run(&cli.serve).await
}
