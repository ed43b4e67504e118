//! Pages, votes, live viewers and memory of release 1.0.

use std::time::Duration;

use voting_tests::deployment::Deployment;
use voting_tests::process::Service;
use voting_tests::servers::Redis;

use super::Bench;
use crate::load::Scenario;
use crate::report::Row;
use crate::target::{Baseline, Viewers, peak, resident};

impl Bench<'_> {
    pub(super) async fn on_redis(&mut self) -> anyhow::Result<()> {
        let redis = Redis::own().await;
        let services = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
        let app = &services.app;
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.report.figure("resident memory of voting-app, idle", resident(app.pid())?, 15.0, "MiB");

        self.pages("app 1.0 + analytics 1.1 on Redis", &services, 0.8).await?;
        // The second one stores each ballot, as voting-app does.
        for (kind, name, goal) in
            [("redis-vote", "Redis vote", 0.85), ("redis-ballot", "Redis ballot", f64::NAN)]
        {
            let other = Redis::own().await;
            let baseline = Baseline::start(kind, &other.url(), 0).await?;
            for connections in [32, 256] {
                let row = Row::new("`POST /` on Redis", connections, name, goal);
                self.compare(row, Scenario::Vote, &[baseline.address], &[app.address]).await?;
            }
        }
        self.viewers(app).await?;
        let what = "peak resident memory of voting-app under load on Redis";
        self.report.figure(what, peak(app.pid())?, 64.0, "MiB");
        Ok(())
    }

    /// Rounds without viewers and with viewers.
    async fn viewers(&mut self, app: &Service) -> anyhow::Result<()> {
        let count = self.arguments.viewers;
        let scenario = format!("`POST /` on Redis with {count} live viewers");
        let mut row = Row::new(scenario, 32, "no viewers", 0.9);
        for round in 1..=self.arguments.rounds {
            row.baseline.push(self.load(&row, round, Scenario::Vote, &[app.address]).await?);
            let viewers = Viewers::start(app.address, count).await?;
            row.measured.push(self.load(&row, round, Scenario::Vote, &[app.address]).await?);
            drop(viewers);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.keep(row);
        Ok(())
    }
}
