//! The store of a cluster, and its faults.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _, MySqlConnection, SqliteConnection};
use tempfile::TempDir;
use tokio::task::AbortHandle;

use super::preload::{Disk, Preload};
use super::{ClusterRelease, Fault};
use crate::PATIENCE;
use crate::process::Signal;
use crate::proxy::{Mode, Proxy};
use crate::servers::{MySql, OwnServer, Redis};

/// A store, behind a proxy if it has a network.
pub(super) struct Store {
    kind: Kind,
    proxy: Option<Proxy>,
    preload: Preload,
    url: String,
    /// The rows or the file that another client has locked.
    lock: Option<Lock>,
    slow: Option<AbortHandle>,
    /// A session of MySQL from before its memory was full.
    operator: Option<MySqlConnection>,
    /// The semi-synchronous replica of MariaDB.
    replica: Option<(MySql, Preload)>,
    /// Former primaries.
    retired: Vec<(Kind, Preload)>,
}

enum Kind {
    Redis(Redis),
    MySql(MySql),
    Sqlite { _folder: TempDir },
}

/// A connection with a transaction that is not committed.
#[expect(dead_code, reason = "they are held, not used")]
enum Lock {
    MySql(MySqlConnection),
    Sqlite(SqliteConnection),
}

impl Store {
    pub(super) async fn start(release: ClusterRelease) -> Self {
        let preload = Preload::start();
        let (kind, proxy, url) = match release {
            ClusterRelease::One | ClusterRelease::Volatile => {
                let settings: &[&str] =
                    if release == ClusterRelease::Volatile { &["--appendonly", "no"] } else { &[] };
                let redis = Redis::own_in(settings, preload.variables()).await;
                let proxy = Proxy::start(redis.address(), Mode::Open).await;
                let url = redis.url_at(proxy.address());
                (Kind::Redis(redis), Some(proxy), url)
            }
            ClusterRelease::Two => {
                let mysql = MySql::own_in(&[], preload.variables()).await;
                let proxy = Proxy::start(mysql.address(), Mode::Open).await;
                let url = mysql.url_of_user_at(proxy.address()).await;
                (Kind::MySql(mysql), Some(proxy), url)
            }
            ClusterRelease::Embedded => {
                let folder = TempDir::new().unwrap();
                let url = format!("sqlite:{}/votes.db", folder.path().display());
                (Kind::Sqlite { _folder: folder }, None, url)
            }
        };
        Self::new(kind, proxy, preload, url, None)
    }

    /// MariaDB with a semi-synchronous replica: a commit is acknowledged once the replica has it on disk.
    pub(super) async fn replicated_mysql() -> Self {
        let [preload, of_replica] = [Preload::start(), Preload::start()];
        let (primary, replica) = MySql::replicated(preload.variables(), of_replica.variables()).await;
        let proxy = Proxy::start(primary.address(), Mode::Open).await;
        let url = primary.url_of_user_at(proxy.address()).await;
        let replica = Some((replica, of_replica));
        let (kind, proxy) = (Kind::MySql(primary), Some(proxy));
        Self::new(kind, proxy, preload, url, replica)
    }

    fn new(
        kind: Kind,
        proxy: Option<Proxy>,
        preload: Preload,
        url: String,
        replica: Option<(MySql, Preload)>,
    ) -> Self {
        Self {
            kind,
            proxy,
            preload,
            url,
            lock: None,
            slow: None,
            operator: None,
            replica,
            retired: Vec::new(),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    fn server(&mut self) -> &mut OwnServer {
        match &mut self.kind {
            Kind::Redis(redis) => redis.server(),
            Kind::MySql(mysql) => mysql.server(),
            Kind::Sqlite { .. } => panic!("SQLite has no server"),
        }
    }

    /// Changes the network between the services and the store.
    pub(super) fn network(&self, mode: Mode) {
        self.proxy.as_ref().expect("SQLite has no network").set(mode);
    }

    pub(super) async fn begin(&mut self, fault: Fault) {
        if fault != Fault::KillStore {
            self.restart_if_it_exited().await;
        }
        match (fault, &self.kind) {
            (Fault::KillStore, _) => self.server().kill().await,
            (Fault::FreezeStore, _) => self.server().signal(Signal::Stop),
            (Fault::SlowStore, _) => {
                let pid = self.server().pid();
                let slow = async move {
                    loop {
                        Signal::Stop.send(pid);
                        tokio::time::sleep(Duration::from_millis(180)).await;
                        Signal::Continue.send(pid);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                };
                self.slow = Some(tokio::spawn(slow).abort_handle());
            }
            (Fault::StoreClock(seconds), _) => self.preload.set_clock_offset(seconds),
            (Fault::FullDisk, _) => self.preload.set_disk(Disk::Full),
            (Fault::LockStore, Kind::Redis(redis)) => {
                redis.query("CLIENT", &["PAUSE", "60000", "WRITE"]).await
            }
            (Fault::LockStore, Kind::MySql(mysql)) => {
                let mut connection = mysql.connect().await;
                connection.execute("BEGIN").await.unwrap();
                let start = Instant::now();
                // The first vote creates the table.
                while let Err(error) = connection.execute("SELECT * FROM tallies FOR UPDATE").await {
                    assert!(start.elapsed() < PATIENCE, "{error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                self.lock = Some(Lock::MySql(connection));
            }
            (Fault::LockStore, Kind::Sqlite { .. }) => {
                // Where it fails, a frozen app has the lock.
                if let Ok(mut connection) = SqliteConnection::connect(&self.url).await
                    && connection.execute("BEGIN IMMEDIATE").await.is_ok()
                {
                    self.lock = Some(Lock::Sqlite(connection));
                }
            }
            (Fault::ReadOnlyStore, Kind::Redis(redis)) => set(redis, "min-replicas-to-write", "1").await,
            (Fault::ReadOnlyStore, Kind::MySql(mysql)) => mysql.execute("SET GLOBAL read_only = ON").await,
            (Fault::FullMemory, Kind::Redis(redis)) => set(redis, "maxmemory", "1").await,
            (Fault::FullMemory, Kind::MySql(mysql)) => {
                // Enough to connect and too little for a batch. Sessions keep the limit that they began with.
                let mut operator = mysql.connect().await;
                operator.execute("SET GLOBAL max_session_mem_used = 65536").await.unwrap();
                mysql.end_sessions_of_voters(&mut operator).await;
                self.operator = Some(operator);
            }
            (Fault::Eviction, Kind::Redis(redis)) => {
                set(redis, "maxmemory", "100mb").await;
                set(redis, "maxmemory-policy", "volatile-lru").await;
                redis.query::<()>("CLIENT", &["KILL", "TYPE", "normal"]).await;
            }
            (Fault::Failover, _) => self.fail_over().await,
            (fault, _) => panic!("{fault:?} is not a fault of {}", self.url),
        }
    }

    pub(super) async fn end(&mut self, fault: Fault) {
        match (fault, &self.kind) {
            (Fault::KillStore, _) => self.server().restart().await,
            (Fault::FreezeStore, _) => self.server().signal(Signal::Continue),
            (Fault::SlowStore, _) => {
                self.slow.take().expect("a slow store").abort();
                self.server().signal(Signal::Continue);
            }
            (Fault::StoreClock(_), _) => self.preload.set_clock_offset(0),
            (Fault::FullDisk, _) => {
                self.preload.set_disk(Disk::Writable);
                self.restart_if_it_exited().await;
                if self.replica.is_some() {
                    // MariaDB looks for room for its binary log only once a minute, so operators restart it.
                    self.server().kill().await;
                    self.server().restart().await;
                }
            }
            (Fault::LockStore, Kind::Redis(redis)) => redis.query("CLIENT", &["UNPAUSE"]).await,
            (Fault::LockStore, _) => self.lock = None,
            (Fault::ReadOnlyStore, Kind::Redis(redis)) => set(redis, "min-replicas-to-write", "0").await,
            (Fault::ReadOnlyStore, Kind::MySql(mysql)) => mysql.execute("SET GLOBAL read_only = OFF").await,
            (Fault::FullMemory, Kind::Redis(redis)) => set(redis, "maxmemory", "0").await,
            (Fault::FullMemory, Kind::MySql(mysql)) => {
                let mut operator = self.operator.take().expect("an operator");
                operator.execute("SET GLOBAL max_session_mem_used = DEFAULT").await.unwrap();
                mysql.end_sessions_of_voters(&mut operator).await;
            }
            (Fault::Eviction, Kind::Redis(redis)) => {
                set(redis, "maxmemory-policy", "noeviction").await;
                set(redis, "maxmemory", "0").await;
                redis.query::<()>("CLIENT", &["KILL", "TYPE", "normal"]).await;
            }
            (Fault::Failover, _) => {}
            (fault, _) => panic!("{fault:?} is not a fault of {}", self.url),
        }
    }

    /// Redis exits if it can't append to its file, as does InnoDB without room for its log. An orchestrator starts them again.
    pub(super) async fn restart_if_it_exited(&mut self) {
        let server = match &mut self.kind {
            Kind::Redis(redis) => redis.server(),
            Kind::MySql(mysql) => mysql.server(),
            Kind::Sqlite { .. } => return,
        };
        if server.has_exited() {
            server.restart().await;
        }
    }

    async fn fail_over(&mut self) {
        let (kind, address, preload) = match &mut self.kind {
            Kind::Redis(primary) => {
                // Coordinated: the replica has every write before it takes over. Open connections stay with the former
                // primary.
                let preload = Preload::start();
                let replica = primary.replica(&[], preload.variables()).await;
                primary.hand_over_to(&replica).await;
                let address = replica.address();
                (Kind::Redis(replica), address, preload)
            }
            Kind::MySql(primary) => {
                // A second failover finds no replica.
                let Some((replica, preload)) = self.replica.take() else { return };
                primary.server().kill().await;
                replica.promote().await;
                let address = replica.address();
                (Kind::MySql(replica), address, preload)
            }
            Kind::Sqlite { .. } => panic!("SQLite has no replica"),
        };
        self.proxy.as_ref().expect("a server has a network").set_target(address);
        let former = std::mem::replace(&mut self.kind, kind);
        self.retired.push((former, std::mem::replace(&mut self.preload, preload)));
    }
}

async fn set(redis: &Redis, name: &str, value: &str) {
    redis.query::<()>("CONFIG", &["SET", name, value]).await;
}
