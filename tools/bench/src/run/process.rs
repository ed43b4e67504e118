//! Start-up time, memory and size of voting-app.

use std::time::{Duration, Instant};

use voting_tests::http::Visitor;
use voting_tests::process::{Service, Signal, program};
use voting_tests::servers::Redis;

use super::Bench;
use crate::report::median;

impl Bench<'_> {
    /// Time from the start of the process until it is ready, with a store that is up, and the size of the program.
    pub(super) async fn process(&mut self) -> anyhow::Result<()> {
        let redis = Redis::own().await;
        let mut times = Vec::new();
        for round in 1..=self.arguments.rounds.max(5) {
            self.bar.set_message(format!("start-up, round {round}"));
            let start = Instant::now();
            let mut app =
                Service::start("voting-app", &[("STORAGE_URL", &redis.url()), ("SHUTDOWN_WAIT", "0")]).await;
            let admin = Visitor::new(app.admin_url(""));
            while admin.get("/readyz").await.status != 200 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            times.push(start.elapsed().as_secs_f64() * 1000.0);
            app.signal(Signal::Terminate);
            app.wait().await;
        }
        self.report.figure("start-up until ready, with the store up", median(times), 100.0, "ms");
        let megabytes = std::fs::metadata(program("voting-app"))?.len() as f64 / 1e6;
        self.report.figure("release binary of voting-app, stripped", megabytes, 12.0, "MB");
        Ok(())
    }
}
