//! A dedicated Redis Cluster.

use super::Redis;
use crate::{PATIENCE, eventually, free_port};

/// Number of hash slots of a cluster.
const SLOTS: usize = 16_384;

/// A cluster without replicas, unless one is added.
#[derive(Debug)]
pub struct RedisCluster {
    pub servers: Vec<Redis>,
    /// The port of the first server's bus.
    bus: String,
}

impl RedisCluster {
    /// Starts three servers and forms a cluster.
    pub async fn start() -> Self {
        Self::start_with(&["--save", ""]).await
    }

    /// [`RedisCluster::start`], whose writes are durable, and which takes a server for dead after a second.
    pub async fn durable() -> Self {
        Self::start_with(&DURABLE).await
    }

    async fn start_with(settings: &[&str]) -> Self {
        let mut servers = Vec::new();
        let mut buses = Vec::new();
        for _ in 0..3 {
            let (server, bus) = start(settings).await;
            servers.push(server);
            buses.push(bus);
        }
        let share = SLOTS.div_ceil(servers.len());
        for (place, server) in servers.iter().enumerate() {
            let (first, end) = (place * share, ((place + 1) * share).min(SLOTS));
            let range = [first.to_string(), (end - 1).to_string()];
            server.query::<()>("CLUSTER", &["ADDSLOTSRANGE", &range[0], &range[1]]).await;
            meet(server, &servers[0], &buses[0]).await;
        }
        for server in &servers {
            is_whole(server, 3).await;
        }
        Self { servers, bus: buses.remove(0) }
    }

    /// Adds a durable replica of the server at this place.
    pub async fn add_replica_of(&mut self, place: usize) {
        let (replica, _) = start(&DURABLE).await;
        meet(&replica, &self.servers[0], &self.bus).await;
        let primary = &self.servers[place];
        let id: String = primary.query("CLUSTER", &["MYID"]).await;
        eventually("the replica knows its primary", PATIENCE, async || {
            replica.query::<String>("CLUSTER", &["NODES"]).await.contains(&id)
        })
        .await;
        replica.query::<()>("CLUSTER", &["REPLICATE", &id]).await;
        primary.replication_is("state=online").await;
        for server in self.servers.iter().chain([&replica]) {
            is_whole(server, self.servers.len() + 1).await;
        }
        self.servers.push(replica);
    }

    /// The URL of a poll with this number of shards.
    pub fn url(&self, parts: u16) -> String {
        format!("redis+cluster://{}?parts={parts}", self.servers[0].address())
    }
}

const DURABLE: [&str; 8] =
    ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--cluster-node-timeout", "5000"];

/// Starts a server, which knows no other; returns the port of its bus as well.
async fn start(settings: &[&str]) -> (Redis, String) {
    let bus = free_port().to_string();
    let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus];
    (Redis::with(&[settings, &cluster].concat()).await, bus)
}

async fn meet(server: &Redis, other: &Redis, bus: &str) {
    let (host, port) = (other.address().ip().to_string(), other.address().port().to_string());
    server.query::<()>("CLUSTER", &["MEET", &host, &port, bus]).await;
}

/// Waits until a server knows this number of servers, and one for each slot.
async fn is_whole(server: &Redis, servers: usize) {
    let known = format!("cluster_known_nodes:{servers}");
    eventually("the cluster is whole", PATIENCE, async || {
        let info: String = server.query("CLUSTER", &["INFO"]).await;
        info.contains("cluster_state:ok") && info.contains(&known)
    })
    .await;
}
