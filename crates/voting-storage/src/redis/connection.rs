//! A connection to one Redis or to a Redis Cluster, without the driver's retries: they would hide which outcome is
//! certain.

use std::net::SocketAddr;
use std::sync::Arc;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::AsyncDNSResolver;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, Pipeline, RedisError, RedisFuture,
    RedisResult, Value,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use super::error::{NO_TLS, WITH_TLS, connecting};
use crate::password::{Login, LoginError, Logins};
use crate::race::{race, resolve};
use crate::store::{StoreError, Timeouts};
use crate::url::StoreAddress;

/// Makes connections.
pub(super) struct Connector {
    address: StoreAddress,
    is_cluster: bool,
    timeouts: Timeouts,
    logins: Arc<Logins>,
}

impl Connector {
    pub(super) fn cluster(seed: &StoreAddress, timeouts: Timeouts) -> Result<Self, StoreError> {
        Self::new(seed, true, timeouts)
    }

    pub(super) fn single(address: &StoreAddress, timeouts: Timeouts) -> Result<Self, StoreError> {
        Self::new(address, false, timeouts)
    }

    fn new(address: &StoreAddress, is_cluster: bool, timeouts: Timeouts) -> Result<Self, StoreError> {
        Client::open(address.expose()).map_err(unusable)?;
        let logins = Logins::new(address.password_file());
        Ok(Self { address: address.clone(), is_cluster, timeouts, logins })
    }

    pub(super) async fn connect(&self) -> Result<(Connection, Login), StoreError> {
        self.logins
            .log_in(|login| async move {
                self.connect_with(&login).await.map_err(|error| self.login_error(error))
            })
            .await
    }

    /// Logs in again, if the password has changed: an open connection to one Redis by `AUTH`; to a cluster by a new
    /// connection in its place. If the server refuses the password, the connection stays as it is. Returns whether it may be
    /// used further.
    pub(super) async fn renew(&self, connection: &mut Connection, login: &mut Login) -> bool {
        let Some(password) = self.logins.changed(login).await else { return true };
        let password = Some(password);
        let renewed = match connection {
            Connection::Single(open) => {
                self.authenticate(open, &password).await.map_err(|error| self.login_error(error))
            }
            Connection::Cluster(_) => {
                match timeout(self.timeouts.connect, self.connect_with(&password)).await {
                    Ok(Ok(renewed)) => {
                        *connection = renewed;
                        Ok(())
                    }
                    Ok(Err(error)) => Err(self.login_error(error)),
                    // The open connection is as good as it was.
                    Err(_) => return true,
                }
            }
        };
        match renewed {
            Ok(()) => {
                self.logins.accepted(password.as_ref());
                *login = password;
                true
            }
            Err(LoginError::Refused(error)) => {
                self.logins.refused(password.as_ref(), &error);
                true
            }
            Err(LoginError::Other(_)) => false,
        }
    }

    async fn authenticate(&self, connection: &mut MultiplexedConnection, login: &Login) -> RedisResult<()> {
        let client = Client::open(self.url(login).expose_secret())?;
        let settings = client.get_connection_info().redis_settings();
        let Some(password) = settings.password() else { return Ok(()) };
        let mut auth = redis::cmd("AUTH");
        if let Some(user) = settings.username() {
            auth.arg(user);
        }
        auth.arg(password).query_async(connection).await
    }

    async fn connect_with(&self, login: &Login) -> RedisResult<Connection> {
        let (url, timeouts) = (self.url(login), self.timeouts);
        if self.is_cluster {
            let client = ClusterClient::builder([url.expose_secret()])
                .retries(0)
                .connection_timeout(timeouts.connect)
                // The response timeout is the caller's, who knows the deadline of the request.
                .response_timeout(timeouts.deadline)
                .build()?;
            return Ok(Connection::Cluster(client.get_async_connection().await?));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeouts.connect))
            .set_response_timeout(None);
        Ok(Connection::Single(connect(&Client::open(url.expose_secret())?, &config).await?))
    }

    fn url(&self, login: &Login) -> SecretString {
        let password = login.clone().unwrap_or_default();
        self.address.url_with(&password)
    }

    /// An error of a connection, or of `AUTH` on an open one. That of a cluster has the server's answer as a text only.
    fn login_error(&self, error: RedisError) -> LoginError {
        const REFUSED: &str = "authentication failed";
        let is_refusal = error.kind() == ErrorKind::AuthenticationFailed
            || error.code() == Some("WRONGPASS")
            || error.to_string().to_lowercase().contains(REFUSED);
        if is_refusal {
            return LoginError::Refused(StoreError::denied(REFUSED));
        }
        // A Redis without TLS takes a handshake for the start of a command and waits for its end; one with TLS takes a command
        // for a bad handshake and closes the connection.
        let has_tls = self.address.expose().starts_with("rediss");
        let hint = if has_tls && error.is_timeout() {
            format!("; if its port is without TLS, {NO_TLS}")
        } else if !has_tls && error.is_connection_dropped() && !error.is_connection_refusal() {
            format!("; if its port is with TLS, {WITH_TLS}")
        } else {
            String::new()
        };
        LoginError::Other(match connecting(error) {
            StoreError::Unavailable(cause) => StoreError::unavailable(format!("{cause}{hint}")),
            error => error,
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
