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
use voting_service::check::{Command, check};
use voting_service::lifecycle::Lifecycle;
use voting_service::metrics::Metrics;
use voting_service::program::Program;
use voting_service::release::{AnalyticsRelease, Released as _};
use voting_storage::{Choices, Limits, StoreUrl, VoteStore, open_with};

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
    /// The numbers for the operator.
    pub metrics: Metrics,
}

impl Analytics {
    /// A release on the store at this URL.
    ///
    /// # Errors
    /// The URL has a part that the store's driver does not know.
    pub fn open(
        release: &'static AnalyticsRelease,
        choices: Choices,
        url: &StoreUrl,
    ) -> anyhow::Result<Self> {
        let limits = Limits { deadline: READ_LIMITS, attempt: READ_LIMITS, ..Limits::default() };
        let store = open_with(url, &choices, limits).with_context(|| url.to_string())?;
        Ok(Self {
            release,
            choices,
            store,
            metrics: Metrics::new(AnalyticsRelease::COMPONENT, release.version),
        })
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
    let analytics = Analytics::open(release, config.poll.choices()?, &url)?;
    let program = Program {
        name: AnalyticsRelease::COMPONENT,
        release: release.version,
        store: analytics.store.clone(),
        metrics: analytics.metrics.clone(),
        lifecycle: Lifecycle::new(),
        routes: routes::routes(analytics),
    };
    program.run(&config.serve).await
}
