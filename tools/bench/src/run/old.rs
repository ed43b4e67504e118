//! Two builds of the services on the same stores.

use std::path::Path;

use voting_tests::deployment::Deployment;
use voting_tests::servers::{MySql, Redis};

use super::Bench;
use crate::load::Scenario;
use crate::report::Row;

impl Bench<'_> {
    /// Pages and votes of both releases, with the programs in the folder `old` as the baseline.
    pub(super) async fn against(&mut self, old: &Path) -> anyhow::Result<()> {
        let redis = Redis::own().await;
        self.builds(old, "1.0", "1.1", &redis.url(), "Redis").await?;
        drop(redis);
        let mysql = MySql::own().await;
        self.builds(old, "2.0", "2.0", &mysql.url(), "MySQL").await
    }

    async fn builds(
        &mut self,
        old: &Path,
        app: &str,
        analytics: &str,
        store: &str,
        kind: &str,
    ) -> anyhow::Result<()> {
        let new = Deployment::start(app, analytics, store, &[]).await;
        let old = Deployment::start_in(old, app, analytics, store, &[]).await;
        new.visitor().vote("Cats").await;
        for (scenario, request) in [(Scenario::Page, "GET /"), (Scenario::Vote, "POST /")] {
            for connections in [32, 256] {
                let name = format!("`{request}`, release {app} on {kind}");
                let row = Row::new(name, connections, "old build", f64::NAN);
                self.compare(row, scenario, &[old.app.address], &[new.app.address]).await?;
            }
        }
        Ok(())
    }
}
