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
use crate::free_port;

/// Databases of a Redis that is not told otherwise; each test that runs has one.
const DATABASES: u16 = 16;

/// A database of a Redis that tests share, or a Redis of a test's own.
#[derive(Debug)]
pub struct Redis {
    address: SocketAddr,
    path: String,
    own: Option<OwnServer>,
    /// Given back when the test is done with its database.
    _number: Option<Number>,
}

static SHARED: OnceCell<Shared> = OnceCell::const_new();

/// Databases that no test uses.
static FREE: LazyLock<Mutex<Vec<u16>>> = LazyLock::new(|| Mutex::new((0..DATABASES).collect()));

/// A database of the shared server that this test alone uses.
#[derive(Debug)]
struct Number(u16);

impl Number {
    /// So many at once: tests that held one while they wait for the next could wait for each other.
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
    /// An empty database of a server that the tests of this program share.
    pub async fn database() -> Self {
        Self::databases(1).await.remove(0)
    }

    /// So many empty databases of that server.
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

    /// A server of the test's own that keeps every write, for faults.
    pub async fn own() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always", "--save", ""]).await
    }

    /// A server of the test's own with these settings.
    pub async fn with(settings: &[&str]) -> Self {
        let server = start(settings).await;
        Self { address: server.address, path: String::new(), own: Some(server), _number: None }
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.url_at(self.address)
    }

    /// Its URL through a proxy at this address.
    pub fn url_at(&self, address: SocketAddr) -> String {
        format!("redis://{address}{}", self.path)
    }

    /// A command, as an operator would give it.
    pub async fn query<T: redis::FromRedisValue>(&self, command: &str, arguments: &[&str]) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd(command).arg(arguments).query_async(&mut connection).await.unwrap()
    }

    /// The server, if it is the test's own.
    pub fn server(&mut self) -> &mut OwnServer {
        self.own.as_mut().expect("a shared server is not to be killed")
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
        let container = image.start().await.expect("Docker answers, but a Redis can't be started in it");
        return Shared::container(container, 6379).await;
    }
    let server = start(&["--save", ""]).await;
    Shared::Program { address: server.address, _server: Box::new(server) }
}

async fn start(persistence: &[&str]) -> OwnServer {
    let program = find_program(&["redis-server", "valkey-server"]).expect(
        "no Redis: set TEST_REDIS_URL, start Docker, or put redis-server on the PATH (`cargo xtask test` installs it on Debian and Ubuntu)",
    );
    let data = TempDir::new().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (port, folder) = (address.port().to_string(), text(data.path()));
    let mut arguments =
        ["--port", &port, "--bind", "127.0.0.1", "--dir", &folder].map(str::to_owned).to_vec();
    arguments.extend(persistence.iter().map(ToString::to_string));
    OwnServer::start(program, arguments, address, data).await
}
