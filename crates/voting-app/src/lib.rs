//! voting-app: the page with the two buttons.
//!
//! - [`config`]: the settings of the program.
//! - [`form`]: what a vote form may hold, parsed once.
//! - [`analytics`]: the client of voting-analytics; concurrent page views share its calls.
//! - [`live`]: the results as they change, for all viewers of a pod.
//! - [`page`]: the HTML. [`error`]: what a visitor is told when something is wrong.
//! - [`metrics`]: what is counted and timed.
//! - [`notice`]: what became of a form, told once after the redirect. [`cookie`]: how cookies are set.
//! - [`routes`]: the HTTP routes, a file each.

pub mod analytics;
pub mod config;
pub mod cookie;
pub mod error;
pub mod form;
pub mod live;
pub mod metrics;
pub mod notice;
pub mod page;
pub mod routes;

use std::sync::Arc;

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use voting_service::check::{Command, check};
use voting_service::lifecycle::Lifecycle;
use voting_service::observe::Observed;
use voting_service::program::Program;
use voting_service::release::{AppRelease, Released as _};
use voting_storage::{Choices, Limits, StoreMetrics, StoreUrl, VoteStore, open_with};

use crate::analytics::{AnalyticsClient, AnalyticsUrl};
use crate::config::{Config, Features};
use crate::live::Live;
use crate::metrics::AppMetrics;

/// What the routes need; clones share it.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts of an [`App`].
pub struct Parts {
    /// The release that is served.
    pub release: &'static AppRelease,
    /// The poll.
    pub choices: Choices,
    /// What the page shows and allows.
    pub features: Features,
    /// Where votes are cast.
    pub store: Arc<dyn VoteStore>,
    /// Where results come from.
    pub analytics: AnalyticsClient,
    /// The results as they change.
    pub live: Live,
    /// Whether the service is leaving.
    pub lifecycle: Lifecycle,
    /// The numbers for the operator.
    pub metrics: AppMetrics,
    /// Its requests.
    pub observed: Observed,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// A release on the store and the analytics at these URLs, and what reads its numbers.
    ///
    /// # Errors
    /// The store's URL has a part that its driver does not know, or no HTTP client can be made.
    pub fn open(
        release: &'static AppRelease,
        choices: Choices,
        features: Features,
        store: &StoreUrl,
        analytics: AnalyticsUrl,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<(Self, Registry)> {
        let (observed, mut registry) = Observed::register(AppRelease::COMPONENT, release.version);
        let metrics = AppMetrics::register(&choices, &mut registry);
        let store_metrics = StoreMetrics::register(&mut registry);

        let store = open_with(store, &choices, Limits::default(), store_metrics)
            .with_context(|| store.to_string())?;
        let analytics = AnalyticsClient::new(analytics, metrics.analytics.clone())?;
        let app = Self(Arc::new(Parts {
            release,
            choices,
            features,
            store,
            live: Live::start(analytics.clone()),
            analytics,
            lifecycle,
            metrics,
            observed,
        }));
        Ok((app, registry))
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
    let analytics = config.analytics_url()?;
    let lifecycle = Lifecycle::new();
    let (app, registry) =
        App::open(release, config.poll.choices()?, config.features, &url, analytics, lifecycle.clone())?;
    let program = Program {
        name: AppRelease::COMPONENT,
        release: release.version,
        store: app.store.clone(),
        choices: app.choices.clone(),
        registry,
        lifecycle,
        api: routes::api(),
        routes: routes::routes(app),
    };
    program.run(&config.serve).await
}
