//! Votes through several apps on one store, whose row of a choice they all want, and on several.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use voting_tests::process::Service;
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::MySql;

use super::Bench;
use crate::load::Scenario;
use crate::report::Row;

/// How many apps take the votes.
const APPS: usize = 2;

/// How many stores a poll is split over.
const PARTS: usize = 4;

/// How far away the copy is, there and back.
const DISTANCE: Duration = Duration::from_millis(40);

impl Bench<'_> {
    pub(super) async fn sharded(&mut self) -> anyhow::Result<()> {
        let mysql = MySql::own().await;
        let mut databases = Vec::new();
        for part in 0..PARTS {
            mysql.execute(&format!("CREATE DATABASE {}_{part}", mysql.name())).await;
            databases.push(format!("{}_{part}", mysql.url()));
        }
        self.sharded_over("databases", &mysql.url(), &databases, 256).await?;
        drop(mysql);

        let mut servers = Vec::new();
        for part in 0..=PARTS {
            self.bar.set_message(format!("{part} servers with a copy"));
            servers.push(WithCopy::start().await?);
        }
        let urls: Vec<_> = servers.iter().map(|server| server.mysql.url()).collect();
        let what = format!("servers, each with a copy {} ms away", DISTANCE.as_millis());
        self.sharded_over(&what, &urls[0], &urls[1..], 4096).await?;
        for server in &servers {
            server.all_was_copied().await?;
        }
        Ok(())
    }

    /// Votes with so many connections on one store and on several.
    async fn sharded_over(
        &mut self,
        what: &str,
        one: &str,
        several: &[String],
        connections: usize,
    ) -> anyhow::Result<()> {
        let (one, several) = (Apps::start(one).await, Apps::start(&several.join(" ")).await);
        let scenario = format!("`POST /` on MySQL through {APPS} apps, split over {PARTS} {what}");
        let row = Row::new(scenario, connections, "one of them", f64::NAN);
        self.compare(row, Scenario::Vote, &one.addresses, &several.addresses).await
    }
}

/// Apps on one poll.
struct Apps {
    addresses: Vec<SocketAddr>,
    _services: Vec<Service>,
}

impl Apps {
    async fn start(store: &str) -> Self {
        let mut services = Vec::new();
        for _ in 0..APPS {
            services.push(Service::start("voting-app", &[("RELEASE", "2.0"), ("STORAGE_URL", store)]).await);
        }
        Self { addresses: services.iter().map(|app| app.address).collect(), _services: services }
    }
}

/// A server whose commits wait until a distant copy has them: MariaDB's semi-synchronous replication. The rows that a
/// transaction wrote stay locked meanwhile.
struct WithCopy {
    mysql: MySql,
    _copy: MySql,
    _network: Proxy,
}

impl WithCopy {
    async fn start() -> anyhow::Result<Self> {
        let mysql = MySql::own_with(&[
            "--server-id=1",
            "--log-bin",
            "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
            "--rpl-semi-sync-master-timeout=60000",
        ])
        .await;
        let copy = MySql::own_with(&["--server-id=2", "--rpl-semi-sync-slave-enabled=ON"]).await;
        let network = Proxy::start(mysql.address(), Mode::Distant(DISTANCE / 2)).await;
        // It writes down what comes and does not carry it out, which would cost the cores that are measured.
        copy.execute(&format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'root'; START SLAVE IO_THREAD",
            network.address().port()
        ))
        .await;
        mysql.execute("SET GLOBAL rpl_semi_sync_master_enabled = ON").await;
        let this = Self { mysql, _copy: copy, _network: network };
        for _ in 0..100 {
            if this.mysql.status("Rpl_semi_sync_master_clients").await == 1 {
                return Ok(this);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("the copy does not connect")
    }

    /// A commit that did not wait would make the measurement worthless.
    async fn all_was_copied(&self) -> anyhow::Result<()> {
        let waited = self.mysql.status("Rpl_semi_sync_master_yes_tx").await;
        let not = self.mysql.status("Rpl_semi_sync_master_no_tx").await;
        ensure!(waited > 0 && not == 0, "{waited} commits waited for the copy and {not} did not");
        Ok(())
    }
}
