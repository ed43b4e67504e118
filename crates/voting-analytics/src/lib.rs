//! voting-analytics: what the votes add up to, as JSON.
//!
//! - [`config`]: the settings of the program.
//! - [`summary`]: how a release words the results.
//! - [`routes`]: the HTTP routes; [`contract`]: the JSON that they answer.

pub mod config;
pub mod contract;
pub mod routes;
pub mod summary;

use std::sync::Arc;

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use voting_service::check::{Command, check};
use voting_service::lifecycle::Lifecycle;
use voting_service::observe::Observed;
use voting_service::program::Program;
use voting_service::release::{AnalyticsRelease, Released as _};
use voting_storage::{Choices, Limits, StoreMetrics, StoreUrl, VoteStore, open_with};

use crate::config::{Config, READ_LIMITS};

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
    pub observed: Observed,
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
        let (observed, mut registry) = Observed::register(AnalyticsRelease::COMPONENT, release.version);
        let metrics = StoreMetrics::register(&mut registry);
        let limits = Limits { deadline: READ_LIMITS, attempt: READ_LIMITS, ..Limits::default() };
        let store = open_with(url, &choices, limits, metrics).with_context(|| url.to_string())?;
        Ok((Self { release, choices, store, observed }, registry))
    }
}

/// Runs the program until it is asked to leave, or does what its command says.
///
/// # Errors
/// One line for the operator: a setting or a port that can't be used, or what `check` found.
pub async fn run(config: Config) -> anyhow::Result<()> {
    if let Some(Command::Check) = config.command {
        return check(&config.serve).await;
    }
    let release = config.release.0;
    let url = config.store.url(release.storage.kind)?;
    let (analytics, registry) = Analytics::open(release, config.poll.choices()?, &url)?;
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
    program.run(&config.serve).await
}
