//! Redis.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;
use testcontainers::core::{ContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _};
use tokio::sync::OnceCell;

use super::{Program, docker_answers, find_program, text};
use crate::free_port;
use crate::process::Signal;

/// Databases of a shared server: one for each test.
const DATABASES: u16 = 512;

/// A database of a Redis that tests share, or a Redis of a test's own.
#[derive(Debug)]
pub struct Redis {
    address: SocketAddr,
    path: String,
    own: Option<(Program, TempDir)>,
}

enum Shared {
    Given(String),
    Container { address: SocketAddr, _container: Box<ContainerAsync<GenericImage>> },
    Program { address: SocketAddr, _program: Box<Program>, _data: TempDir },
}

static SHARED: OnceCell<Shared> = OnceCell::const_new();
static NEXT: AtomicU16 = AtomicU16::new(0);

impl Redis {
    /// An empty database of a server that the tests of this program share.
    pub async fn database() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (address, path) = match SHARED.get_or_init(shared).await {
            Shared::Given(url) => {
                let url =
                    reqwest::Url::parse(url).expect("TEST_REDIS_URL: not a URL; allowed: redis://HOST:PORT");
                let address = url.socket_addrs(|| Some(6379)).expect("TEST_REDIS_URL: no such host")[0];
                (address, format!("/{}", number % 16))
            }
            Shared::Container { address, .. } | Shared::Program { address, .. } => {
                (*address, format!("/{number}"))
            }
        };
        let redis = Self { address, path, own: None };
        redis.query::<()>("FLUSHDB", &[]).await;
        redis
    }

    /// A server of the test's own that keeps every write, for faults.
    pub async fn own() -> Self {
        let data = TempDir::new().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut program = server(&data, address, &["--appendonly", "yes", "--appendfsync", "always"]);
        program.start(address).await;
        Self { address, path: String::new(), own: Some((program, data)) }
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

    /// Sends a signal to a server of the test's own.
    pub fn signal(&self, signal: Signal) {
        self.own.as_ref().expect("a shared server").0.signal(signal);
    }

    /// `kill -9` of a server of the test's own.
    pub async fn kill(&mut self) {
        self.own.as_mut().expect("a shared server").0.kill().await;
    }

    /// Starts it again with its data.
    pub async fn restart(&mut self) {
        let address = self.address;
        self.own.as_mut().expect("a shared server").0.start(address).await;
    }
}

async fn shared() -> Shared {
    if let Ok(url) = std::env::var("TEST_REDIS_URL") {
        return Shared::Given(url);
    }
    if docker_answers().await {
        let image = GenericImage::new("redis", "7")
            .with_exposed_port(ContainerPort::Tcp(6379))
            .with_wait_for(WaitFor::message_on_stdout("Ready to accept connections"))
            .with_cmd(["redis-server".to_owned(), "--databases".to_owned(), DATABASES.to_string()]);
        let container = image.start().await.expect("Docker answers, but a Redis can't be started in it");
        let port = container.get_host_port_ipv4(6379).await.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        return Shared::Container { address, _container: Box::new(container) };
    }
    let data = TempDir::new().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut program = server(&data, address, &["--save", ""]);
    program.start(address).await;
    Shared::Program { address, _program: Box::new(program), _data: data }
}

fn server(data: &TempDir, address: SocketAddr, persistence: &[&str]) -> Program {
    let program = find_program(&["redis-server", "valkey-server"]).expect(
        "no Redis: set TEST_REDIS_URL, start Docker, or put redis-server on the PATH (`cargo xtask test` installs it on Debian and Ubuntu)",
    );
    let mut arguments =
        vec!["--port".to_owned(), address.port().to_string(), "--bind".to_owned(), "127.0.0.1".to_owned()];
    arguments.extend([
        "--databases".to_owned(),
        DATABASES.to_string(),
        "--dir".to_owned(),
        text(data.path()),
    ]);
    arguments.extend(persistence.iter().map(ToString::to_string));
    Program::new(program, arguments, data.path().join("log"))
}
