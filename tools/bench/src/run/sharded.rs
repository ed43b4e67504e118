//! Votes through several apps on one store, where they contend for the row of a choice, and on several shards.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use voting_tests::process::Service;
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::MySql;
use voting_tests::{PATIENCE, eventually};

use super::Bench;
use crate::load::Scenario;
use crate::report::Row;

const APPS: usize = 2;

const SHARDS: usize = 4;

/// Round-trip time to the replica.
const ROUND_TRIP: Duration = Duration::from_millis(40);

impl Bench<'_> {
    pub(super) async fn sharded(&mut self) -> anyhow::Result<()> {
        let mysql = MySql::own().await;
        let mut databases = Vec::new();
        for shard in 0..SHARDS {
            mysql.execute(&format!("CREATE DATABASE {}_{shard}", mysql.name())).await;
            databases.push(format!("{}_{shard}", mysql.url()));
        }
        self.sharded_over("databases", &mysql.url(), &databases, 256).await?;
        drop(mysql);

        let mut servers = Vec::new();
        for shard in 0..=SHARDS {
            self.bar.set_message(format!("{shard} servers with a replica"));
            servers.push(Replicated::start().await?);
        }
        let urls: Vec<_> = servers.iter().map(|server| server.mysql.url()).collect();
        let what = format!("servers, each with a replica at {} ms round trip", ROUND_TRIP.as_millis());
        self.sharded_over(&what, &urls[0], &urls[1..], 4096).await?;
        for server in &servers {
            server.all_was_replicated().await?;
        }
        Ok(())
    }

    async fn sharded_over(
        &mut self,
        what: &str,
        one: &str,
        several: &[String],
        connections: usize,
    ) -> anyhow::Result<()> {
        let (one, several) = (Apps::start(one).await, Apps::start(&several.join(" ")).await);
        let scenario = format!("`POST /` on MySQL through {APPS} apps, {SHARDS} shards on {what}");
        let row = Row::new(scenario, connections, "one shard", f64::NAN);
        self.compare(row, Scenario::Vote, &one.addresses, &several.addresses).await
    }
}

/// Several apps on one poll.
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

/// A server whose commits wait for a distant replica: MariaDB's semi-synchronous replication. The rows of a transaction
/// stay locked meanwhile.
struct Replicated {
    mysql: MySql,
    _replica: MySql,
    _network: Proxy,
}

impl Replicated {
    async fn start() -> anyhow::Result<Self> {
        let mysql = MySql::own_with(&[
            "--server-id=1",
            "--log-bin",
            "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
            "--rpl-semi-sync-master-timeout=60000",
        ])
        .await;
        let replica = MySql::own_with(&["--server-id=2", "--rpl-semi-sync-slave-enabled=ON"]).await;
        let network = Proxy::start(mysql.address(), Mode::Distant(ROUND_TRIP / 2)).await;
        // The replica only stores the log: applying it would use CPU time of the measured cores.
        replica.execute(&format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'root'; START SLAVE IO_THREAD",
            network.address().port()
        ))
        .await;
        mysql.execute("SET GLOBAL rpl_semi_sync_master_enabled = ON").await;
        let this = Self { mysql, _replica: replica, _network: network };
        eventually("the replica is connected", PATIENCE, async || {
            this.mysql.status("Rpl_semi_sync_master_clients").await == 1
        })
        .await;
        Ok(this)
    }

    /// Fails if a commit did not wait for the replica.
    async fn all_was_replicated(&self) -> anyhow::Result<()> {
        let waited = self.mysql.status("Rpl_semi_sync_master_yes_tx").await;
        let not = self.mysql.status("Rpl_semi_sync_master_no_tx").await;
        ensure!(waited > 0 && not == 0, "{waited} commits waited for the replica and {not} did not");
        Ok(())
    }
}
