//! voting-app: the page with the two buttons.
//!
//! - [`cli`]: the settings of the program.
//! - [`form`]: what a vote form may hold, parsed once.
//! - [`analytics`]: the client of voting-analytics; concurrent page views share its calls.
//! - [`live`]: the results as they change, for all viewers of a pod.
//! - [`page`]: the HTML. [`error`]: what a visitor is told when something is wrong.
//! - [`metrics`]: what is counted and timed.
//! - [`notice`]: what became of a form, told once after the redirect. [`cookie`]: how cookies are set.
//! - [`routes`]: the HTTP routes, a file each.

pub mod analytics;
pub mod cli;
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
use voting_core::Choices;
use voting_core::release::{AppRelease, Released as _};
use voting_http::admin::AdminPort;
use voting_http::check::{Command, check};
use voting_http::lifecycle::Lifecycle;
use voting_http::observe::RequestObserver;
use voting_http::program::Program;
use voting_http::telemetry::{self, DEFAULT_LOG};
use voting_storage::{StoreMetrics, StoreUrl, Timeouts, VoteStore, open_with};

use crate::analytics::{AnalyticsClient, AnalyticsUrl};
use crate::cli::{Cli, Features};
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
    pub observed: RequestObserver,
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
        let (observed, mut registry) = RequestObserver::register(AppRelease::COMPONENT, release.version);
        let metrics = AppMetrics::register(&choices, &mut registry);
        let store_metrics = StoreMetrics::register(&mut registry);

        let store = open_with(store, &choices, Timeouts::default(), store_metrics)
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
    let (app, registry) =
        App::open(release, cli.poll.choices()?, cli.features, &url, analytics, lifecycle.clone())?;
    let program = Program {
        name: AppRelease::COMPONENT,
        release: release.version,
        admin: AdminPort::new(app.store.clone(), &app.choices, registry, routes::api()),
        lifecycle,
        routes: routes::routes(app),
    };
    program.run(&cli.serve).await
}
