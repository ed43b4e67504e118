//! A release of voting-app with its voting-analytics and store.

use std::path::Path;

use crate::http::Visitor;
use crate::process::{Service, programs};

/// voting-app and voting-analytics on one store, as child processes.
#[derive(Debug)]
pub struct Deployment {
    pub app: Service,
    pub analytics: Service,
}

impl Deployment {
    /// Starts these releases on the store at this URL, with additional settings for the app.
    pub async fn start(app: &str, analytics: &str, store: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_in(programs(), app, analytics, store, settings).await
    }

    /// [`Deployment::start`] with the programs in this folder.
    pub async fn start_in(
        folder: &Path,
        app: &str,
        analytics: &str,
        store: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let of_analytics = [("RELEASE", analytics), ("STORAGE_URL", store)];
        let analytics = Service::start_in(folder, "voting-analytics", &of_analytics).await;
        let analytics_url = format!("http://{}", analytics.address);
        let common = [("RELEASE", app), ("STORAGE_URL", store), ("ANALYTICS_URL", analytics_url.as_str())];
        let app = Service::start_in(folder, "voting-app", &[&common, settings].concat()).await;
        Self { app, analytics }
    }

    pub fn visitor(&self) -> Visitor {
        Visitor::new(self.app.url(""))
    }
}
