//! Pages, votes and live viewers of release 1.0, and what memory they take.

use std::time::Duration;

use voting_tests::deployment::Deployment;
use voting_tests::process::Service;
use voting_tests::servers::Redis;

use super::Bench;
use super::process::{peak, resident};
use crate::load::Scenario;
use crate::report::Row;
use crate::target::{Baseline, Viewers};

impl Bench<'_> {
    pub(super) async fn on_redis(&mut self) -> anyhow::Result<()> {
        let redis = Redis::own().await;
        let services = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
        let app = &services.app;
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.report.figure("resident memory of voting-app, idle", resident(app.pid())?, 15.0, "MiB");

        self.pages("app 1.0 + analytics 1.1 on Redis", &services, 0.8).await?;
        // The second shows what a limit would do that knows each ballot.
        for (kind, name, goal) in
            [("redis-vote", "Redis vote", 0.85), ("redis-ballot", "Redis ballot", f64::NAN)]
        {
            let other = Redis::own().await;
            let limit = Baseline::start(kind, &other.url(), 0).await?;
            for connections in [32, 256] {
                let row = Row::new("`POST /` on Redis", connections, name, goal);
                self.compare(row, Scenario::Vote, &[limit.address], &[app.address]).await?;
            }
        }
        self.viewers(app).await?;
        let what = "resident memory of voting-app, the most under the loads on Redis";
        self.report.figure(what, peak(app.pid())?, 64.0, "MiB");
        Ok(())
    }

    /// Each round without viewers, then with them.
    async fn viewers(&mut self, app: &Service) -> anyhow::Result<()> {
        let count = self.arguments.viewers;
        let scenario = format!("`POST /` on Redis while {count} live viewers look");
        let mut row = Row::new(scenario, 32, "no viewer", 0.9);
        for round in 1..=self.arguments.rounds {
            row.limit.push(self.load(&row, round, Scenario::Vote, &[app.address]).await?);
            let viewers = Viewers::start(app.address, count).await?;
            row.ours.push(self.load(&row, round, Scenario::Vote, &[app.address]).await?);
            drop(viewers);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.keep(row);
        Ok(())
    }
}
