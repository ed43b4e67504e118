//! A connection to one Redis or to a Redis Cluster, without the driver's retries: they would hide which outcome is
//! certain.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisFuture, Value};

use crate::store::{StoreError, Timeouts};
use crate::url::StoreAddress;

/// Makes connections.
pub(super) enum Connector {
    Single(Client, AsyncConnectionConfig),
    Cluster(ClusterClient),
}

impl Connector {
    pub(super) fn cluster(seed: &StoreAddress, timeouts: Timeouts) -> Result<Self, StoreError> {
        let client = ClusterClient::builder([seed.expose()])
            .retries(0)
            .connection_timeout(timeouts.connect)
            // The response timeout is the caller's, who knows the deadline of the request.
            .response_timeout(timeouts.deadline)
            .build();
        client.map(Self::Cluster).map_err(unusable)
    }

    pub(super) fn single(address: &StoreAddress, timeouts: Timeouts) -> Result<Self, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeouts.connect))
            .set_response_timeout(None);
        Ok(Self::Single(Client::open(address.expose()).map_err(unusable)?, config))
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

/// The driver's error may repeat the URL with its password, so only its category is kept.
fn unusable(error: RedisError) -> StoreError {
    StoreError::unusable(error.category())
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
