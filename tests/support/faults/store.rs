//! The store of a cluster, and its faults.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _, MySqlConnection, SqliteConnection};
use tempfile::TempDir;
use tokio::task::AbortHandle;

use super::preload::Preload;
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
    /// Former primaries.
    retired: Vec<(Redis, Preload)>,
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
        let preload = Preload::new();
        let (kind, proxy, url) = match release {
            ClusterRelease::One => {
                let redis = Redis::own_in(&[], preload.variables()).await;
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
        Self { kind, proxy, preload, url, lock: None, slow: None, retired: Vec::new() }
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
            (Fault::FullDisk, _) => self.preload.set_disk_full(true),
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
            (Fault::Eviction, Kind::Redis(redis)) => {
                set(redis, "maxmemory", "100mb").await;
                set(redis, "maxmemory-policy", "volatile-lru").await;
                redis.query::<()>("CLIENT", &["KILL", "TYPE", "normal"]).await;
            }
            (Fault::Failover, Kind::Redis(_)) => self.fail_over().await,
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
                self.preload.set_disk_full(false);
                self.restart_if_it_exited().await;
            }
            (Fault::LockStore, Kind::Redis(redis)) => redis.query("CLIENT", &["UNPAUSE"]).await,
            (Fault::LockStore, _) => self.lock = None,
            (Fault::ReadOnlyStore, Kind::Redis(redis)) => set(redis, "min-replicas-to-write", "0").await,
            (Fault::ReadOnlyStore, Kind::MySql(mysql)) => mysql.execute("SET GLOBAL read_only = OFF").await,
            (Fault::FullMemory, Kind::Redis(redis)) => set(redis, "maxmemory", "0").await,
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

    /// A coordinated failover: the replica has every write before it takes over. Open connections stay with the former
    /// primary.
    async fn fail_over(&mut self) {
        let Kind::Redis(primary) = &mut self.kind else { panic!("only Redis fails over") };
        let preload = Preload::new();
        let (host, port) = (primary.address().ip().to_string(), primary.address().port().to_string());
        let replica = Redis::own_in(&["--replicaof", &host, &port], preload.variables()).await;
        replication(&replica, "master_link_status:up").await;
        replication(primary, "state=online").await;
        let (host, port) = (replica.address().ip().to_string(), replica.address().port().to_string());
        primary.query::<()>("FAILOVER", &["TO", &host, &port]).await;
        replication(&replica, "role:master").await;
        self.proxy.as_ref().expect("Redis has a network").set_target(replica.address());
        let former = std::mem::replace(primary, replica);
        self.retired.push((former, std::mem::replace(&mut self.preload, preload)));
    }
}

async fn set(redis: &Redis, name: &str, value: &str) {
    redis.query::<()>("CONFIG", &["SET", name, value]).await;
}

/// Waits until the state of the replication is this one.
async fn replication(redis: &Redis, state: &str) {
    let reaches = || async { redis.query::<String>("INFO", &["replication"]).await.contains(state) };
    crate::eventually(state, PATIENCE, reaches).await;
}
