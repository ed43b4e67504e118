//! Pages and votes of release 2.0, and analytics on a store with many ballots.

use std::time::Duration;

use voting_tests::deployment::Deployment;
use voting_tests::eventually;
use voting_tests::servers::MySql;

use super::{Bench, static_summary};
use crate::load::Scenario;
use crate::report::Row;
use crate::target::{Baseline, peak};

impl Bench<'_> {
    pub(super) async fn on_mysql(&mut self) -> anyhow::Result<()> {
        let mysql = MySql::own().await;
        let services = Deployment::start("2.0", "2.0", &mysql.url(), &[]).await;
        let app = &services.app;
        services.visitor().vote("Cats").await;
        self.pages("app 2.0 + analytics 2.0 on MySQL", &services, 0.75).await?;

        let other = MySql::own().await;
        let baseline = Baseline::start("commit-per-vote", &other.url(), 0).await?;
        for (connections, goal) in [(32, f64::NAN), (256, 5.0)] {
            let row = Row::new("`POST /` on MySQL", connections, "commit per vote", goal);
            self.compare(row, Scenario::Vote, &[baseline.address], &[app.address]).await?;
        }
        drop(baseline);
        let what = "peak resident memory of voting-app under load on MySQL";
        self.report.figure(what, peak(app.pid())?, 64.0, "MiB");
        drop(services);

        let large = MySql::own().await;
        let empty = Deployment::start("2.0", "2.0", &other.url(), &[]).await;
        let full = Deployment::start("2.0", "2.0", &large.url(), &[]).await;
        empty.visitor().vote("Cats").await;
        full.visitor().vote("Cats").await;
        let baseline = static_summary(&empty).await?;
        let (empty, full) = (&[empty.analytics.address], &[full.analytics.address]);
        let row = Row::new("`GET /analytics` on MySQL", 32, "static", f64::NAN);
        self.compare(row, Scenario::Analytics, &[baseline.address], empty).await?;
        drop(baseline);

        self.fill(&large).await;
        let scenario = format!("`GET /analytics` on MySQL with {} ballots", self.arguments.ballots);
        self.compare(Row::new(scenario, 32, "empty store", 0.95), Scenario::Analytics, empty, full).await
    }

    /// Inserts ballots with current ids directly into the tables.
    async fn fill(&self, mysql: &MySql) {
        const AT_ONCE: u64 = 100_000;
        let mut done = 0;
        while done < self.arguments.ballots {
            self.bar.set_message(format!("filling the large store: {done} ballots"));
            let count = AT_ONCE.min(self.arguments.ballots - done);
            mysql.execute(&format!(
                "SET SESSION max_recursive_iterations = 1000000;\
                 INSERT INTO ballots (id) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
                 SELECT UNHEX(CONCAT(LPAD(HEX(FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000)), 12, '0'), '7', LPAD(HEX(i & 4095), 3, '0'), \
                 '8', LPAD(HEX({done} + i), 15, '0'))) FROM n;\
                 UPDATE tallies SET votes = votes + {count} LIMIT 1"
            )).await;
            done += count;
        }
        // Pending writes would slow down the measurement.
        mysql.execute("SET GLOBAL innodb_max_dirty_pages_pct = 0").await;
        eventually("the large store is on disk", Duration::from_secs(120), async || {
            tokio::time::sleep(Duration::from_millis(500)).await;
            mysql.status("Innodb_buffer_pool_pages_dirty").await < 100
        })
        .await;
        mysql.execute("SET GLOBAL innodb_max_dirty_pages_pct = DEFAULT").await;
    }
}
