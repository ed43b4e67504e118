//! Opening a connection, and the bound on their number.
//!
//! A connection that is given up while the server executes its statement keeps a thread of the server. The next
//! connection kills it, and it counts against the bound until it is gone. So a fault that blocks statements can't exhaust
//! the server's connections.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _, raw_sql};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::error::{ACCESS_DENIED, TLS_REQUIRED, connecting, error_number};
use crate::file::Pem;
use crate::password::{Login, LoginError, Logins};
use crate::race::{race, resolve};
use crate::store::StoreError;
use crate::url::StoreAddress;

/// Connections of a store: for casts, for reads, and for a rare operation.
const MAX_CONNECTIONS: usize = 3;

/// How long a killed connection may take to end before it counts as stuck.
const KILL_TIME: Duration = Duration::from_millis(500);

/// Makes connections.
pub(super) struct Connector {
    address: StoreAddress,
    logins: Arc<Logins>,
}

impl Connector {
    pub(super) fn new(address: &StoreAddress) -> Result<Self, StoreError> {
        let connector = Self { address: address.clone(), logins: Logins::new(address.password_file()) };
        connector.options(&None)?;
        connector.check_files()?;
        Ok(connector)
    }

    fn check_files(&self) -> Result<(), StoreError> {
        for (parameter, name, kind, allowed) in [
            ("ssl-ca", "ssl-ca or MYSQL_SSL_CA", Pem::CERTIFICATE, "certificates"),
            ("ssl-cert", "ssl-cert", Pem::CERTIFICATE, "certificates"),
            ("ssl-key", "ssl-key", Pem::KEY, "a private key"),
        ] {
            let Some(file) = self.address.parameter(parameter) else { continue };
            kind.check(file.as_ref()).map_err(|reason| {
                StoreError::unusable(format!(
                    "the file of {name}, {file:?}, {reason}; allowed: a file with {allowed} in PEM"
                ))
            })?;
        }
        Ok(())
    }

    /// The options of a connection with this login.
    pub(super) fn options(&self, login: &Login) -> Result<MySqlConnectOptions, StoreError> {
        let url = login
            .as_ref()
            .map_or_else(|| self.address.expose().into(), |password| self.address.url_with(password));
        // The driver's error may repeat the URL with its password.
        let options: MySqlConnectOptions = url
            .expose_secret()
            .parse()
            .map_err(|_| StoreError::unusable("the MySQL driver does not know a part of the URL"))?;
        // The driver keeps the brackets of an IPv6 address in the URL, and would look for a host of that name.
        let host = options.get_host().trim_matches(['[', ']']).to_owned();
        // Tokens are sent as they are. Only a server whose certificate is verified may read them.
        let is_verified =
            matches!(options.get_ssl_mode(), MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity);
        Ok(options.host(&host).enable_cleartext_plugin(is_verified).disable_statement_logging())
    }

    pub(super) async fn connect(&self) -> Result<(MySqlConnection, Login), StoreError> {
        self.logins.log_in(|login| async move { self.connect_with(&login).await }).await
    }

    async fn connect_with(&self, login: &Login) -> Result<MySqlConnection, LoginError> {
        let options = self.options(login).map_err(LoginError::Other)?;
        connect(&options).await.map_err(|error| {
            let number = error_number(&error);
            let is_refusal = number.is_some_and(|number| ACCESS_DENIED.contains(&number));
            let needs_tls = is_refusal || number == Some(TLS_REQUIRED);
            let error = match connecting(error) {
                // The server does not say whether the user may log in with TLS alone (REQUIRE SSL).
                StoreError::Unusable(cause)
                    if needs_tls && matches!(options.get_ssl_mode(), MySqlSslMode::Disabled) =>
                {
                    StoreError::unusable(format!(
                        "{cause}; if the server or the user requires TLS, another ssl-mode or MYSQL_SSL_MODE than DISABLED"
                    ))
                }
                error => error,
            };
            if is_refusal { LoginError::Refused(error) } else { LoginError::Other(error) }
        })
    }

    /// The password that a connection with this login does not have yet.
    pub(super) async fn changed(&self, login: &Login) -> Login {
        self.logins.changed(login).await
    }

    /// Whether the server accepts this password.
    pub(super) async fn accepts(self: Arc<Self>, password: Login) -> bool {
        const LIMIT: Duration = Duration::from_secs(2);
        match timeout(LIMIT, self.connect_with(&password)).await {
            Ok(Ok(connection)) => {
                self.logins.accepted(password.as_ref());
                let _ = timeout(LIMIT, connection.close()).await;
                true
            }
            Ok(Err(LoginError::Refused(error))) => {
                self.logins.refused(password.as_ref(), &error);
                false
            }
            Ok(Err(LoginError::Other(_))) | Err(_) => false,
        }
    }
}

/// Connects to the first address of the host that answers.
pub(super) async fn connect(options: &MySqlConnectOptions) -> Result<MySqlConnection, sqlx::Error> {
    let host = options.get_host();
    let is_name = host.trim_matches(['[', ']']).parse::<IpAddr>().is_err();
    // With VERIFY_IDENTITY the driver must know the name, and then it resolves the name itself.
    let needs_name = is_name && matches!(options.get_ssl_mode(), MySqlSslMode::VerifyIdentity);
    if options.get_socket().is_some() || needs_name {
        return options.connect().await;
    }
    let addresses = resolve(host, options.get_port()).await?;
    let by_address = |address: SocketAddr| {
        let options = options.clone().host(&address.ip().to_string());
        async move { options.connect().await }
    };
    match race(addresses, by_address).await {
        Some(result) => result,
        None => options.connect().await,
    }
}

/// The connections of a store, and those that it gave up.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    given_up: Mutex<Vec<(ServerThread, OwnedSemaphorePermit)>>,
}

/// A thread of the server, and the client that it serves. The client distinguishes it from the thread of the same number
/// after a restart of the server.
#[derive(Clone, Debug)]
struct ServerThread {
    id: u64,
    client: String,
}

impl Slots {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(MAX_CONNECTIONS)), given_up: Mutex::default() })
    }

    /// Takes a slot for this new connection. Before that, the connections that were given up are killed.
    pub(super) async fn take(self: &Arc<Self>, connection: &mut MySqlConnection) -> Result<Slot, StoreError> {
        self.kill_given_up(connection).await;
        let permit = self.free.clone().try_acquire_owned().map_err(|_| {
            StoreError::unavailable("the server still executes statements of connections that were given up")
        })?;
        let own = "SELECT id, host FROM information_schema.processlist WHERE id = CONNECTION_ID()";
        // A compatible database may have no such table. Then its own time limits end its statements.
        let thread = connection
            .fetch_optional(raw_sql(own))
            .await
            .ok()
            .flatten()
            .and_then(|row| Some(ServerThread { id: number(&row)?, client: row.try_get(1).ok()? }));
        Ok(Slot { slots: self.clone(), thread, permit: Some(permit), is_busy: false })
    }

    async fn kill_given_up(&self, connection: &mut MySqlConnection) {
        let start = Instant::now();
        loop {
            let given_up: Vec<_> = self.lock().iter().map(|(thread, _)| thread.clone()).collect();
            if given_up.is_empty() {
                return;
            }
            let alive = alive(connection, &given_up).await;
            self.lock().retain(|(thread, _)| alive.contains(&thread.id));
            if alive.is_empty() || start.elapsed() > KILL_TIME {
                return;
            }
            for id in alive {
                // It may have ended meanwhile.
                let _ = connection.execute(raw_sql(AssertSqlSafe(format!("KILL {id}")))).await;
            }
            sleep(KILL_TIME / 10).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(ServerThread, OwnedSemaphorePermit)>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ids of those of the threads that still serve the same client.
async fn alive(connection: &mut MySqlConnection, threads: &[ServerThread]) -> Vec<u64> {
    let all = "SELECT id, host FROM information_schema.processlist";
    match connection.fetch_all(raw_sql(all)).await {
        Ok(rows) => {
            let is_one = |row: &sqlx::mysql::MySqlRow| {
                let (id, client) = (number(row)?, row.try_get::<String, _>(1).ok()?);
                threads.iter().any(|thread| thread.id == id && thread.client == client).then_some(id)
            };
            rows.iter().filter_map(is_one).collect()
        }
        Err(_) => threads.iter().map(|thread| thread.id).collect(),
    }
}

/// The first column, whose type differs between servers.
fn number(row: &sqlx::mysql::MySqlRow) -> Option<u64> {
    row.try_get_unchecked::<i64, _>(0).ok().and_then(|id| id.try_into().ok())
}

/// The place of one connection among the allowed ones.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    thread: Option<ServerThread>,
    permit: Option<OwnedSemaphorePermit>,
    is_busy: bool,
}

impl Slot {
    /// Whether the server is executing a statement. The connection is given up if it is dropped meanwhile.
    pub(super) fn set_busy(&mut self, is_busy: bool) {
        self.is_busy = is_busy;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let (true, Some(thread), Some(permit)) = (self.is_busy, self.thread.take(), self.permit.take()) {
            self.slots.lock().push((thread, permit));
        }
    }
}
