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
use voting_service::lifecycle::Lifecycle;
use voting_service::metrics::Metrics;
use voting_service::release::{AnalyticsRelease, Released as _};
use voting_service::server::{allow_many_connections, listen, serve};
use voting_service::{admin, telemetry};
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

/// Runs the program until it is asked to leave.
///
/// # Errors
/// One line for the operator: a setting or a port that can't be used.
pub async fn run(config: Config) -> anyhow::Result<()> {
    allow_many_connections();
    let release = config.release.0;
    let url = config.store.url(release.storage.kind)?;
    let analytics = Analytics::open(release, config.poll.choices()?, &url)?;
    let lifecycle = Lifecycle::new();
    let shutdown = config.serve.shutdown();
    lifecycle.close_on_signals(shutdown)?;

    let listener = listen(config.serve.address()).await?;
    let admin_listener = listen(config.serve.admin_address()).await?;
    telemetry::start(config.serve.log_format);
    tracing::info!(release = release.version, address = %listener.local_addr()?, admin = %admin_listener.local_addr()?, store = %url, "voting-analytics serves.");

    let admin = admin::routes(lifecycle.clone(), analytics.store.clone(), analytics.metrics.clone());
    let limits = config.serve.client_limits();
    let service = serve(listener, routes::routes(analytics), &lifecycle, shutdown.deadline, limits);
    tokio::join!(service, serve(admin_listener, admin, &lifecycle, shutdown.deadline, limits));
    Ok(())
}
