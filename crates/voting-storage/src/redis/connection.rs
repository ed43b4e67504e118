//! A connection to one Redis or to a Redis Cluster, without the driver's retries: they would hide which outcome is
//! certain.

use std::net::SocketAddr;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::AsyncDNSResolver;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, Pipeline, RedisError, RedisFuture, RedisResult, Value,
};

use crate::race::{race, resolve};
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
            Self::Single(client, config) => Connection::Single(connect(client, config).await?),
            Self::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        })
    }
}

/// Connects to the first address of the host that answers. (The driver takes the first that accepts a connection, and in a
/// cluster that must do.)
async fn connect(client: &Client, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
    let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) =
        client.get_connection_info().addr()
    else {
        return client.get_multiplexed_async_connection_with_config(config).await;
    };
    let by_address = |address: SocketAddr| async move {
        let config = config.clone().set_dns_resolver(Resolved(address));
        client.get_multiplexed_async_connection_with_config(&config).await
    };
    match race(resolve(host, *port).await?, by_address).await {
        Some(result) => result,
        None => client.get_multiplexed_async_connection_with_config(config).await,
    }
}

/// A host name that is resolved already; TLS still verifies the name.
struct Resolved(SocketAddr);

impl AsyncDNSResolver for Resolved {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _host: &'b str,
        _port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        let address: Box<dyn Iterator<Item = SocketAddr> + Send> = Box::new(std::iter::once(self.0));
        Box::pin(std::future::ready(Ok(address)))
    }
}

/// The driver's error may repeat the URL with its password, so only its category is kept.
fn unusable(error: RedisError) -> StoreError {
    StoreError::unusable(error.category())
}

/// A connection; clones share it.
#[derive(Clone)]
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
