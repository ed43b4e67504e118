//! A connection to one Redis or to a cluster of them, without retries of the driver's own: they would hide which
//! outcome is certain.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisFuture, Value};

use crate::store::{Limits, StoreError};
use crate::url::StoreUrl;

/// How to connect.
pub(super) enum Connector {
    Single(Client, AsyncConnectionConfig),
    Cluster(ClusterClient),
}

impl Connector {
    pub(super) fn new(url: &StoreUrl, limits: Limits) -> Result<Self, StoreError> {
        // The driver's error may repeat the URL, and with it the password.
        let unusable = |error: RedisError| StoreError::unusable(error.category());
        if url.cluster_parts().is_some() {
            let client = ClusterClient::builder([url.expose()])
                .retries(0)
                .connection_timeout(limits.connect)
                // The response time-out is the caller's: it knows the deadline of the whole.
                .response_timeout(limits.deadline)
                .build();
            return client.map(Self::Cluster).map_err(unusable);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limits.connect))
            .set_response_timeout(None);
        Ok(Self::Single(Client::open(url.expose()).map_err(unusable)?, config))
    }

    pub(super) async fn connect(&self) -> Result<Connection, RedisError> {
        Ok(match self {
            Self::Single(client, config) => {
                Connection::Single(client.get_multiplexed_async_connection_with_config(config).await?)
            }
            Self::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        })
    }
}

/// A connection.
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
