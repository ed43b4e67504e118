//! MySQL or MariaDB.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tempfile::TempDir;
use testcontainers::core::{ContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{GenericImage, ImageExt as _};
use tokio::sync::OnceCell;

use super::{OwnServer, Shared, docker_answers, find_program, text};
use crate::watchdog::Watchdog;
use crate::{PATIENCE, eventually, free_port};

/// A database of a shared or dedicated server.
#[derive(Debug)]
pub struct MySql {
    address: SocketAddr,
    /// `root` or `root:PASSWORD`, as in a URL.
    login: String,
    name: String,
    own: Option<OwnServer>,
}

static SHARED: OnceCell<Shared> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

impl MySql {
    /// An empty database of the shared server.
    pub async fn database() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (address, login) = match SHARED.get_or_init(shared).await {
            Shared::Given(url) => {
                let url = reqwest::Url::parse(url)
                    .expect("TEST_MYSQL_URL: not a URL; allowed: mysql://USER:PASSWORD@HOST:PORT");
                let password = url.password().map(|password| format!(":{password}")).unwrap_or_default();
                let address = url.socket_addrs(|| Some(3306)).expect("TEST_MYSQL_URL: no such host")[0];
                (address, format!("{}{password}", url.username()))
            }
            Shared::Container { address, .. } => (*address, "root:test".to_owned()),
            Shared::Program { address, .. } => (*address, "root".to_owned()),
        };
        let name = format!("voting_test_{}_{number}", std::process::id());
        Self { address, login, name, own: None }.create().await
    }

    /// A database of a dedicated server, for faults. Commits are durable.
    pub async fn own() -> Self {
        Self::own_with(&[]).await
    }

    /// [`MySql::own`] with additional server arguments.
    pub async fn own_with(arguments: &[&str]) -> Self {
        Self::own_in(arguments, Vec::new()).await
    }

    /// [`MySql::own_with`], with these environment variables.
    pub async fn own_in(arguments: &[&str], variables: Vec<(String, String)>) -> Self {
        let server = start(arguments, variables).await;
        let address = server.address;
        Self { address, login: "root".to_owned(), name: "votes".to_owned(), own: Some(server) }.create().await
    }

    /// A dedicated MariaDB and its semi-synchronous replica, with these environment variables: a commit is acknowledged once
    /// the replica has it on disk, and waits for as long as that takes.
    pub async fn replicated(
        of_primary: Vec<(String, String)>,
        of_replica: Vec<(String, String)>,
    ) -> (Self, Self) {
        let common = ["--log-bin=votes", "--sync-binlog=1", "--binlog-format=ROW", "--gtid-strict-mode=ON"];
        let waits = [
            "--rpl-semi-sync-master-timeout=600000",
            "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
            "--rpl-semi-sync-master-wait-no-slave=ON",
        ];
        let mut primary = Self::own_in(&[&["--server-id=1"], &common[..], &waits].concat(), of_primary).await;
        let receives = ["--server-id=2", "--rpl-semi-sync-slave-enabled=ON", "--relay-log=votes-relay"];
        let received = ["--sync-relay-log=1", "--relay-log-recovery=OFF", "--read-only=ON"];
        let server = start(&[&receives, &common[..], &received].concat(), of_replica).await;
        let replica = Self {
            address: server.address,
            login: primary.login.clone(),
            name: primary.name.clone(),
            own: Some(server),
        };
        let (host, port) = (primary.address.ip(), primary.address.port());
        let mut operator = replica.operator().await;
        let follow = format!(
            "CHANGE MASTER TO MASTER_HOST = '{host}', MASTER_PORT = {port}, MASTER_USER = 'root', \
             MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 1; START SLAVE"
        );
        operator.execute(sqlx::raw_sql(AssertSqlSafe(follow))).await.unwrap();
        eventually("the replica follows", PATIENCE, async || {
            primary.status("Rpl_semi_sync_master_clients").await == 1
        })
        .await;
        primary.execute("SET GLOBAL rpl_semi_sync_master_enabled = ON").await;
        // After a restart too.
        primary.server().add_argument("--rpl-semi-sync-master-enabled=ON");
        (primary, replica)
    }

    /// Promotes a replica whose primary is gone, after it has applied everything that it received.
    pub async fn promote(&self) {
        let mut operator = self.operator().await;
        operator.execute(sqlx::raw_sql("STOP SLAVE IO_THREAD")).await.unwrap();
        let start = Instant::now();
        loop {
            let row = operator.fetch_one(sqlx::raw_sql("SHOW SLAVE STATUS")).await.unwrap();
            let state: String = row.get("Slave_SQL_Running_State");
            if state.contains("has read all relay log") {
                break;
            }
            assert!(start.elapsed() < PATIENCE, "the replica does not apply its log: {state}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let promote = "STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = OFF";
        operator.execute(sqlx::raw_sql(promote)).await.unwrap();
    }

    /// Ends the sessions of the user of [`MySql::url_of_user_at`].
    pub async fn end_sessions_of_voters(&self, operator: &mut MySqlConnection) {
        operator.execute("KILL CONNECTION USER voter").await.unwrap();
    }

    /// The ids of a user's sessions.
    pub async fn sessions_of(&self, user: &str) -> Vec<i64> {
        let query = format!("SELECT id FROM information_schema.processlist WHERE user = '{user}'");
        let rows = self.operator().await.fetch_all(sqlx::raw_sql(AssertSqlSafe(query))).await.unwrap();
        rows.iter().map(|row| row.try_get_unchecked(0).unwrap()).collect()
    }

    /// Ends a user's sessions one by one: not every server can end them by the user's name.
    pub async fn end_sessions_of(&self, user: &str) {
        let mut operator = self.operator().await;
        for id in self.sessions_of(user).await {
            // It may have ended meanwhile.
            let _ = operator.execute(sqlx::raw_sql(AssertSqlSafe(format!("KILL {id}")))).await;
        }
    }

    /// A session of the administrator, without a database.
    pub async fn operator(&self) -> MySqlConnection {
        let url = format!("mysql://{}@{}?ssl-mode=DISABLED", self.login, self.address);
        MySqlConnection::connect(&url).await.unwrap()
    }

    async fn create(self) -> Self {
        let mut connection = self.operator().await;
        let create = format!("DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}", name = self.name);
        connection.execute(sqlx::raw_sql(AssertSqlSafe(create))).await.unwrap();
        self
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        self.url_at(self.address)
    }

    /// The URL through a proxy at this address.
    pub fn url_at(&self, address: SocketAddr) -> String {
        format!("mysql://{}@{address}/{}", self.login, self.name)
    }

    /// The URL through a proxy at this address, of a user with all rights on the database and none on the server.
    pub async fn url_of_user_at(&self, address: SocketAddr) -> String {
        let name = &self.name;
        self.execute(&format!("CREATE USER voter@'%'; GRANT ALL ON {name}.* TO voter@'%'")).await;
        format!("mysql://voter@{address}/{name}")
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub async fn connect(&self) -> MySqlConnection {
        MySqlConnection::connect(&format!("{}?ssl-mode=DISABLED", self.url())).await.unwrap()
    }

    /// Executes statements.
    pub async fn execute(&self, statements: &str) {
        self.connect().await.execute(sqlx::raw_sql(AssertSqlSafe(statements))).await.unwrap();
    }

    /// Reads a status variable of the server.
    pub async fn status(&self, name: &str) -> u64 {
        let query = AssertSqlSafe(format!("SHOW GLOBAL STATUS LIKE '{name}'"));
        let row = self.connect().await.fetch_one(query).await.unwrap();
        row.get::<String, _>(1).parse().unwrap()
    }

    /// The dedicated server.
    pub fn server(&mut self) -> &mut OwnServer {
        self.own.as_mut().expect("a shared server must not be killed")
    }
}

async fn shared() -> Shared {
    if let Ok(url) = std::env::var("TEST_MYSQL_URL") {
        return Shared::Given(url);
    }
    if docker_answers().await {
        // The message of the temporary server for the initialization has no port.
        let image = GenericImage::new("mysql", "8.4")
            .with_exposed_port(ContainerPort::Tcp(3306))
            .with_wait_for(WaitFor::message_on_stderr("port: 3306"))
            .with_env_var("MYSQL_ROOT_PASSWORD", "test")
            .with_env_var("MYSQL_ROOT_HOST", "%")
            .with_startup_timeout(Duration::from_secs(180));
        let container = image.start().await.expect("starting MySQL in Docker failed");
        return Shared::container(container, 3306).await;
    }
    let server = start(&[], Vec::new()).await;
    Shared::Program { address: server.address, _server: Box::new(server) }
}

async fn start(more: &[&str], variables: Vec<(String, String)>) -> OwnServer {
    let data = TempDir::new().unwrap();
    let server = find_program(&["mysqld", "mariadbd"]).expect(
        "no MySQL: set TEST_MYSQL_URL, start Docker, or install mysqld or mariadbd (`cargo xtask test` does on Debian and Ubuntu)",
    );
    let files = data.path().join("files");
    let (template, _watchdog) = TEMPLATE.get_or_init(async || template(&server).await).await;
    let mut copy = tokio::process::Command::new("cp");
    assert!(copy.args(["-r", "--reflink=auto"]).args([template, &files]).status().await.unwrap().success());
    let port = free_port();
    let socket = text(&data.path().join("socket"));
    let mut arguments = vec![
        "--no-defaults".to_owned(),
        format!("--datadir={}", text(&files)),
        format!("--port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--socket={socket}"),
        // A server that starts deletes the temporary tables of all servers in its folder.
        format!("--tmpdir={}", text(data.path())),
        format!("--pid-file={}", text(&data.path().join("pid"))),
        "--max-connections=300".to_owned(),
        "--innodb-flush-log-at-trx-commit=1".to_owned(),
    ];
    arguments.extend(as_this_user());
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    OwnServer::start(server, arguments, variables, SocketAddr::from(([127, 0, 0, 1], port)), data).await
}

/// The files of a new server, which take seconds to make.
static TEMPLATE: OnceCell<(PathBuf, Watchdog)> = OnceCell::const_new();

async fn template(server: &Path) -> (PathBuf, Watchdog) {
    let folder = TempDir::new().unwrap().keep();
    let watchdog = Watchdog::new(&format!("rm -rf '{}'", text(&folder)));
    let files = folder.join("files");
    initialize(server, &files, &folder).await;
    // MySQL's identity of one server.
    let _ = std::fs::remove_file(files.join("auto.cnf"));
    (files, watchdog)
}

/// Creates the system tables.
async fn initialize(server: &Path, files: &Path, temporary: &Path) {
    let install = find_program(&["mariadb-install-db", "mysql_install_db"]);
    let mut command = if let Some(install) = install {
        let mut command = tokio::process::Command::new(install);
        command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        command
    } else {
        let mut command = tokio::process::Command::new(server);
        command.args(["--no-defaults", "--initialize-insecure"]);
        command
    };
    command.arg(format!("--datadir={}", text(files))).args(as_this_user()).env("TMPDIR", temporary);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The server runs as root only with this argument.
fn as_this_user() -> Option<String> {
    (std::env::var("USER").as_deref() == Ok("root")
        || std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0))
    .then(|| "--user=root".to_owned())
}
