//! Redis.

use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use testcontainers::GenericImage;
use testcontainers::core::{ContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use tokio::sync::OnceCell;

use super::{OwnServer, Shared, docker_answers, find_program, text};
use crate::clock::FakeClock;
use crate::{PATIENCE, eventually, free_port};

/// The default number of databases; each running test uses one.
const DATABASES: u16 = 16;

/// A database of the shared server, or a dedicated server.
#[derive(Debug)]
pub struct Redis {
    address: SocketAddr,
    path: String,
    own: Option<OwnServer>,
    _number: Option<Number>,
}

static SHARED: OnceCell<Shared> = OnceCell::const_new();

/// Unused databases.
static FREE: LazyLock<Mutex<Vec<u16>>> = LazyLock::new(|| Mutex::new((0..DATABASES).collect()));

/// Exclusive use of a database of the shared server.
#[derive(Debug)]
struct Number(u16);

impl Number {
    /// Takes several databases at once: taking them one by one could end in a deadlock of tests.
    async fn take(count: usize) -> Vec<Self> {
        let take = || {
            let mut free = FREE.lock().unwrap();
            let rest = free.len().checked_sub(count)?;
            Some(free.drain(rest..).map(Self).collect())
        };
        loop {
            if let Some(numbers) = take() {
                return numbers;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        FREE.lock().unwrap().push(self.0);
    }
}

impl Redis {
    /// An empty database of the shared server.
    pub async fn database() -> Self {
        Self::databases(1).await.remove(0)
    }

    /// Several empty databases of the shared server.
    pub async fn databases(count: usize) -> Vec<Self> {
        let numbers = Number::take(count).await;
        let address = match SHARED.get_or_init(shared).await {
            Shared::Given(url) => {
                let url =
                    reqwest::Url::parse(url).expect("TEST_REDIS_URL: not a URL; allowed: redis://HOST:PORT");
                url.socket_addrs(|| Some(6379)).expect("TEST_REDIS_URL: no such host")[0]
            }
            Shared::Container { address, .. } | Shared::Program { address, .. } => *address,
        };
        let mut databases = Vec::new();
        for number in numbers {
            let redis = Self { address, path: format!("/{}", number.0), own: None, _number: Some(number) };
            redis.query::<()>("FLUSHDB", &[]).await;
            databases.push(redis);
        }
        databases
    }

    /// A dedicated server, for faults. Writes are durable.
    pub async fn own() -> Self {
        Self::own_in(&[], Vec::new()).await
    }

    /// [`Redis::own`] with more settings and environment variables.
    pub async fn own_in(settings: &[&str], variables: Vec<(String, String)>) -> Self {
        let durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
        Self::start(&[&durable, settings].concat(), variables).await
    }

    /// A dedicated server with this clock.
    pub async fn with_clock(clock: &FakeClock) -> Self {
        Self::start(&["--save", ""], clock.variables()).await
    }

    /// A dedicated server with these settings.
    pub async fn with(settings: &[&str]) -> Self {
        Self::start(settings, Vec::new()).await
    }

    async fn start(settings: &[&str], variables: Vec<(String, String)>) -> Self {
        let server = start(settings, variables).await;
        Self { address: server.address, path: String::new(), own: Some(server), _number: None }
    }

    /// A new replica of this server, with more settings and environment variables, once it has every write.
    pub async fn replica(&self, settings: &[&str], variables: Vec<(String, String)>) -> Self {
        self.replica_by(self.address, settings, variables).await
    }

    /// [`Redis::replica`] through a proxy at this address.
    pub async fn replica_by(
        &self,
        address: SocketAddr,
        settings: &[&str],
        variables: Vec<(String, String)>,
    ) -> Self {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let replica = Self::own_in(&[&["--replicaof", &host, &port], settings].concat(), variables).await;
        replica.replication_is("master_link_status:up").await;
        self.replication_is("state=online").await;
        replica
    }

    /// A coordinated failover: the replica has every write before it takes over.
    pub async fn hand_over_to(&self, replica: &Self) {
        let (host, port) = (replica.address.ip().to_string(), replica.address.port().to_string());
        self.query::<()>("FAILOVER", &["TO", &host, &port]).await;
        replica.replication_is("role:master").await;
    }

    /// Waits until the state of the replication is this one.
    pub async fn replication_is(&self, state: &str) {
        let reaches = || async { self.query::<String>("INFO", &["replication"]).await.contains(state) };
        eventually(state, PATIENCE, reaches).await;
    }

    /// Waits until a replica has every write that this primary has made so far.
    pub async fn replicated_to(&self, replica: &Self) {
        let offset = self.replication_number("master_repl_offset").await;
        eventually("the replica has every earlier write", PATIENCE, async || {
            replica.replication_number("slave_repl_offset").await >= offset
        })
        .await;
    }

    async fn replication_number(&self, name: &str) -> u64 {
        let info: String = self.query("INFO", &["replication"]).await;
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {name}: {info}")).trim().parse().unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        self.url_at(self.address)
    }

    /// The URL through a proxy at this address.
    pub fn url_at(&self, address: SocketAddr) -> String {
        format!("redis://{address}{}", self.path)
    }

    /// Runs a command.
    pub async fn query<T: redis::FromRedisValue>(&self, command: &str, arguments: &[&str]) -> T {
        self.try_query(command, arguments).await.unwrap()
    }

    /// [`Redis::query`] of a command that may fail.
    pub async fn try_query<T: redis::FromRedisValue>(
        &self,
        command: &str,
        arguments: &[&str],
    ) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url()).unwrap();
        // The driver's own limits are below the pauses of a busy machine.
        let patient = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
        redis::cmd(command).arg(arguments).query_async(&mut connection).await
    }

    /// The dedicated server.
    pub fn server(&mut self) -> &mut OwnServer {
        self.own.as_mut().expect("a shared server must not be killed")
    }
}

async fn shared() -> Shared {
    if let Ok(url) = std::env::var("TEST_REDIS_URL") {
        return Shared::Given(url);
    }
    if docker_answers().await {
        let image = GenericImage::new("redis", "7")
            .with_exposed_port(ContainerPort::Tcp(6379))
            .with_wait_for(WaitFor::message_on_stdout("Ready to accept connections"));
        let container = image.start().await.expect("starting Redis in Docker failed");
        return Shared::container(container, 6379).await;
    }
    let server = start(&["--save", ""], Vec::new()).await;
    Shared::Program { address: server.address, _server: Box::new(server) }
}

async fn start(settings: &[&str], variables: Vec<(String, String)>) -> OwnServer {
    let program = find_program(&["redis-server", "valkey-server"]).expect(
        "no Redis: set TEST_REDIS_URL, start Docker, or install redis-server (`cargo xtask test` does on Debian and Ubuntu)",
    );
    let data = TempDir::new().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (port, folder) = (address.port().to_string(), text(data.path()));
    let mut arguments =
        ["--port", &port, "--bind", "127.0.0.1", "--dir", &folder].map(str::to_owned).to_vec();
    arguments.extend(settings.iter().map(ToString::to_string));
    OwnServer::start(program, arguments, variables, address, data).await
}
