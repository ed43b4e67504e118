//! Votes far beyond the capacity of a store.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use voting_tests::deployment::Deployment;
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::Redis;

use super::Bench;
use crate::load::{Connection, Scenario};
use crate::report::Overload;
use crate::target::{load, open_loop, peak};

/// The way to the store, in each direction. So a call takes twice as long, and a batch of votes too.
const DISTANCE: Duration = Duration::from_millis(400);

/// Fewer than the app allows by default, and enough for the votes that can be accepted before their deadline.
const CONNECTIONS: usize = 2400;

impl Bench<'_> {
    pub(super) async fn overload(&mut self) -> anyhow::Result<()> {
        let redis = Redis::own().await;
        let proxy = Proxy::start(redis.address(), Mode::Distant(DISTANCE)).await;
        let services = Deployment::start("1.0", "1.1", &redis.url_at(proxy.address()), &[]).await;
        let app = &services.app;
        let seconds = self.arguments.seconds.max(2);
        self.bar.set_message("overload: the capacity".to_owned());
        until_fast(app.address).await?;
        let capacity = load(app.address, Scenario::Vote, 1024, 4 * seconds).await?.rate;
        for times in [1, 2, 5, 20] {
            self.bar.set_message(format!("overload: {times} times the capacity"));
            let answered =
                open_loop(app.address, (capacity * times as f64) as u64, CONNECTIONS, 2 * seconds).await?;
            let end = Instant::now();
            until_fast(app.address).await?;
            let recovery = end.elapsed().saturating_sub(DISTANCE * 2).as_secs_f64();
            let overload = Overload { times, peak: capacity, answered, recovery };
            self.show(&overload.line());
            self.report.overloads.push(overload);
        }
        self.report.figure(
            "peak resident memory of voting-app under overload",
            peak(app.pid())?,
            128.0,
            "MiB",
        );
        Ok(())
    }
}

/// Votes until the app accepts one as fast as the store permits: it has connected, and its queue is empty.
async fn until_fast(app: SocketAddr) -> anyhow::Result<()> {
    let mut connection = Connection::open(app).await?;
    loop {
        let start = Instant::now();
        if connection.send(Scenario::Vote).await? == 303 && start.elapsed() < DISTANCE * 3 {
            return Ok(());
        }
    }
}
