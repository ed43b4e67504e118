//! The state that the routes share.

use std::ops::Deref;
use std::sync::Arc;

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use voting_core::Choices;
use voting_core::release::{AppRelease, Released as _};
use voting_faults::store::inject;
use voting_faults::{FaultPlan, Faults};
use voting_http::config::ProxyArgs;
use voting_http::lifecycle::Lifecycle;
use voting_http::observe::RequestObserver;
use voting_storage::{StoreMetrics, StoreUrl, Timeouts, VoteStore, open_with};

use crate::analytics::{AnalyticsClient, AnalyticsUrl};
use crate::cli::PageArgs;
use crate::live::LiveResults;
use crate::metrics::AppMetrics;

/// The state of the service; clones share it.
#[derive(Clone)]
pub struct App(Arc<AppState>);

/// The fields of an [`App`].
pub struct AppState {
    pub(crate) release: &'static AppRelease,
    pub(crate) choices: Choices,
    pub(crate) page: PageArgs,
    pub(crate) proxy: ProxyArgs,
    /// The store that votes are cast to.
    pub store: Arc<dyn VoteStore>,
    pub(crate) analytics: AnalyticsClient,
    pub(crate) live: LiveResults,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) metrics: AppMetrics,
    pub(crate) observer: RequestObserver,
    /// Those of a bad release.
    pub faults: Option<Faults>,
}

/// The configuration of an [`App`].
#[derive(Debug)]
pub struct Config<'a> {
    /// The release to serve.
    pub release: &'static AppRelease,
    /// The choices of the poll.
    pub choices: Choices,
    /// Content of the page.
    pub page: PageArgs,
    /// The proxies in front of the page.
    pub proxy: ProxyArgs,
    /// The store of the votes.
    pub store: &'a StoreUrl,
    /// The voting-analytics whose results the page shows.
    pub analytics: AnalyticsUrl,
    /// Maximum number of live viewers.
    pub max_viewers: usize,
    /// The faults to inject.
    pub faults: Option<FaultPlan>,
}

impl Deref for App {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}

impl App {
    /// Opens a release, with the registry of its metrics. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// The store's driver rejects the URL, or the HTTP client can't be created.
    pub fn open(config: Config<'_>, lifecycle: Lifecycle) -> anyhow::Result<(Self, Registry)> {
        let Config { release, choices, page, proxy, store, analytics, max_viewers, faults } = config;
        let (observer, mut registry) = RequestObserver::register(AppRelease::COMPONENT, release.version);
        let metrics = AppMetrics::register(&choices, &mut registry);
        let store_metrics = StoreMetrics::register(&mut registry);

        let store = open_with(store, &choices, Timeouts::default(), store_metrics)
            .with_context(|| store.to_string())?;
        let faults = faults.map(|plan| Faults::start(plan, &mut registry));
        let store = match &faults {
            Some(faults) => inject(faults, store),
            None => store,
        };
        let analytics =
            AnalyticsClient::new(release, analytics, &choices, faults.as_ref(), metrics.analytics.clone());
        let app = Self(Arc::new(AppState {
            release,
            choices,
            page,
            proxy,
            store,
            live: LiveResults::start(analytics.clone(), max_viewers),
            analytics,
            lifecycle,
            metrics,
            observer,
            faults,
        }));
        Ok((app, registry))
    }
}
