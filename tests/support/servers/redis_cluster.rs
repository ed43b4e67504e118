//! A dedicated Redis Cluster.

use super::Redis;
use crate::{PATIENCE, eventually, free_port};

/// Number of hash slots of a cluster.
const SLOTS: usize = 16_384;

/// A cluster without replicas.
#[derive(Debug)]
pub struct RedisCluster {
    pub servers: Vec<Redis>,
}

impl RedisCluster {
    /// Starts three servers and forms a cluster.
    pub async fn start() -> Self {
        let mut servers = Vec::new();
        let mut buses = Vec::new();
        for _ in 0..3 {
            let bus = free_port().to_string();
            servers
                .push(Redis::with(&["--save", "", "--cluster-enabled", "yes", "--cluster-port", &bus]).await);
            buses.push(bus);
        }
        let share = SLOTS.div_ceil(servers.len());
        for (place, server) in servers.iter().enumerate() {
            let (first, end) = (place * share, ((place + 1) * share).min(SLOTS));
            let range = [first.to_string(), (end - 1).to_string()];
            server.query::<()>("CLUSTER", &["ADDSLOTSRANGE", &range[0], &range[1]]).await;
            let other = servers[0].address();
            let meet = ["MEET", &other.ip().to_string(), &other.port().to_string(), &buses[0]];
            server.query::<()>("CLUSTER", &meet).await;
        }
        for server in &servers {
            eventually("the cluster is whole", PATIENCE, async || {
                let info: String = server.query("CLUSTER", &["INFO"]).await;
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
            .await;
        }
        Self { servers }
    }

    /// The URL of a poll with this number of shards.
    pub fn url(&self, parts: u16) -> String {
        format!("redis+cluster://{}?parts={parts}", self.servers[0].address())
    }
}
