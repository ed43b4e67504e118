//! The state that the routes share.

use std::sync::Arc;

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use voting_core::Choices;
use voting_core::release::{AnalyticsRelease, Released as _};
use voting_faults::{FaultPlan, Faults};
use voting_http::observe::RequestObserver;
use voting_storage::{StoreMetrics, StoreUrl, Timeouts, VoteStore, open_with};

use crate::cli::READ_TIMEOUT;

/// The state of the service.
#[derive(Clone)]
pub struct Analytics {
    pub(crate) release: &'static AnalyticsRelease,
    pub(crate) choices: Choices,
    pub(crate) store: Arc<dyn VoteStore>,
    pub(crate) observer: RequestObserver,
    /// Those of a bad release.
    pub faults: Option<Faults>,
}

impl Analytics {
    /// Opens a release on the store at this URL, with the registry of its metrics. It injects these faults.
    ///
    /// # Errors
    /// The store's driver rejects the URL.
    pub fn open(
        release: &'static AnalyticsRelease,
        choices: Choices,
        url: &StoreUrl,
        faults: Option<FaultPlan>,
    ) -> anyhow::Result<(Self, Registry)> {
        let (observer, mut registry) =
            RequestObserver::register(AnalyticsRelease::COMPONENT, release.version);
        let metrics = StoreMetrics::register(&mut registry);
        let timeouts = Timeouts { deadline: READ_TIMEOUT, attempt: READ_TIMEOUT, ..Timeouts::default() };
        let store = open_with(url, &choices, timeouts, metrics).with_context(|| url.to_string())?;
        let faults = faults.map(|plan| Faults::start(plan, &mut registry));
        Ok((Self { release, choices, store, observer, faults }, registry))
    }
}
