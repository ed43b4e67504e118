//! voting-analytics: what the votes add up to, as JSON.
//!
//! - [`cli`]: the settings of the program.
//! - [`summary`]: how a release words the results.
//! - [`routes`]: the HTTP routes; [`contract`]: the JSON that they answer.

pub mod cli;
pub mod contract;
pub mod routes;
pub mod summary;

use std::sync::Arc;

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use voting_core::Choices;
use voting_core::release::{AnalyticsRelease, Released as _};
use voting_http::admin::AdminPort;
use voting_http::check::{Command, check};
use voting_http::lifecycle::Lifecycle;
use voting_http::observe::RequestObserver;
use voting_http::program::Program;
use voting_http::telemetry::{self, DEFAULT_LOG};
use voting_storage::{StoreMetrics, StoreUrl, Timeouts, VoteStore, open_with};

use crate::cli::{Cli, READ_TIMEOUT};

/// What the routes need.
#[derive(Clone)]
pub struct Analytics {
    /// The release that is served.
    pub release: &'static AnalyticsRelease,
    /// The poll.
    pub choices: Choices,
    /// The votes.
    pub store: Arc<dyn VoteStore>,
    /// Its requests.
    pub observed: RequestObserver,
}

impl Analytics {
    /// A release on the store at this URL, and what reads its numbers.
    ///
    /// # Errors
    /// The URL has a part that the store's driver does not know.
    pub fn open(
        release: &'static AnalyticsRelease,
        choices: Choices,
        url: &StoreUrl,
    ) -> anyhow::Result<(Self, Registry)> {
        let (observed, mut registry) =
            RequestObserver::register(AnalyticsRelease::COMPONENT, release.version);
        let metrics = StoreMetrics::register(&mut registry);
        let timeouts = Timeouts { deadline: READ_TIMEOUT, attempt: READ_TIMEOUT, ..Timeouts::default() };
        let store = open_with(url, &choices, timeouts, metrics).with_context(|| url.to_string())?;
        Ok((Self { release, choices, store, observed }, registry))
    }
}

/// Runs the program until it is asked to leave, or does what its command says.
///
/// # Errors
/// One line for the operator: a setting or a port that can't be used, or what `check` found.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    if let Some(Command::Check) = cli.command {
        return check(&cli.serve).await;
    }
    let release = cli.release.0;
    let _telemetry =
        telemetry::start(AnalyticsRelease::COMPONENT, release.version, cli.serve.log_format, DEFAULT_LOG)?;
    let url = cli.store.url(release.storage.kind)?;
    let (analytics, registry) = Analytics::open(release, cli.poll.choices()?, &url)?;
    let program = Program {
        name: AnalyticsRelease::COMPONENT,
        release: release.version,
        admin: AdminPort::new(analytics.store.clone(), &analytics.choices, registry, routes::api()),
        lifecycle: Lifecycle::new(),
        routes: routes::routes(analytics),
    };
    program.run(&cli.serve).await
}
