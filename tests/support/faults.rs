//! Faults under load: a small cluster of the real programs, fault injection, and the report of the ledger.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Stopwatch;
use crate::balancer::Balancer;
use crate::ledger::{self, Plan, Progress, Report};
use crate::process::{Service, Signal};
use crate::proxy::{Mode, Proxy};
use crate::servers::{MySql, OwnServer, Redis};

/// The releases and the store of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterRelease {
    /// App 1.0 and analytics 1.1 on Redis with its append-only file.
    One,
    /// App and analytics 2.0 on MySQL or MariaDB.
    Two,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of an app.
    KillApp,
    /// SIGTERM of an app.
    TerminateApp,
    /// `kill -9` of voting-analytics.
    KillAnalytics,
    /// `kill -9` of the store, and its restart.
    KillStore,
    /// The store is frozen for 5 seconds.
    FreezeStore,
    /// For one second every connection to the store is cut at its first response.
    DropAnswers,
    /// For one second the store refuses connections.
    CutConnections,
    /// For 4 seconds, longer than any deadline, the network to the store loses every packet.
    SilentNetwork,
}

impl Fault {
    pub const ALL: [Self; 8] = [
        Self::KillApp,
        Self::TerminateApp,
        Self::KillAnalytics,
        Self::KillStore,
        Self::FreezeStore,
        Self::DropAnswers,
        Self::CutConnections,
        Self::SilentNetwork,
    ];
}

enum Store {
    Redis(Redis),
    MySql(MySql),
}

impl Store {
    async fn start(release: ClusterRelease) -> Self {
        match release {
            ClusterRelease::One => Self::Redis(Redis::own().await),
            ClusterRelease::Two => Self::MySql(MySql::own().await),
        }
    }

    async fn behind_proxy(&self) -> (Proxy, String) {
        let address = match self {
            Self::Redis(redis) => redis.address(),
            Self::MySql(mysql) => mysql.address(),
        };
        let proxy = Proxy::start(address, Mode::Open).await;
        let url = match self {
            Self::Redis(redis) => redis.url_at(proxy.address()),
            Self::MySql(mysql) => mysql.url_at(proxy.address()),
        };
        (proxy, url)
    }

    fn server(&mut self) -> &mut OwnServer {
        match self {
            Self::Redis(redis) => redis.server(),
            Self::MySql(mysql) => mysql.server(),
        }
    }
}

/// Several apps behind a balancer, one voting-analytics, and a store behind a proxy, which simulates the network.
pub struct Cluster {
    store: Store,
    proxy: Proxy,
    analytics: Service,
    apps: Vec<Service>,
    balancer: Balancer,
}

impl Cluster {
    /// Starts all replicas concurrently on an empty store.
    pub async fn start(release: ClusterRelease, replicas: usize) -> Self {
        let store = Store::start(release).await;
        let (proxy, url) = store.behind_proxy().await;
        let (app, analytics) = match release {
            ClusterRelease::One => ("1.0", "1.1"),
            ClusterRelease::Two => ("2.0", "2.0"),
        };
        let analytics =
            Service::start("voting-analytics", &[("RELEASE", analytics), ("STORAGE_URL", &url)]).await;
        let analytics_url = analytics.url("");
        let mut starts = JoinSet::new();
        for _ in 0..replicas {
            let (url, analytics_url) = (url.clone(), analytics_url.clone());
            starts.spawn(async move {
                let settings = [("RELEASE", app), ("STORAGE_URL", &url), ("ANALYTICS_URL", &analytics_url)];
                Service::start("voting-app", &settings).await
            });
        }
        let apps = starts.join_all().await;
        let balancer = Balancer::start(&apps).await;
        Self { store, proxy, analytics, apps, balancer }
    }

    /// Runs a load of at least this number of ballots and injects the faults one after the other.
    ///
    /// # Errors
    /// Those of [`ledger::run`].
    pub async fn run(
        &mut self,
        faults: &[Fault],
        ballots: u64,
        voters: usize,
        say: impl Fn(&str),
    ) -> anyhow::Result<Report> {
        let plan = Plan {
            url: self.balancer.url(),
            analytics_url: None,
            cookies: None,
            keeps_connections: true,
            choices: ["Cats".to_owned(), "Dogs".to_owned()],
            voters,
            ballots: u64::MAX,
            retry: true,
            pause: Duration::from_millis(2),
        };
        let progress = Progress::default();
        let load = tokio::spawn({
            let (plan, progress) = (plan.clone(), progress.clone());
            async move { ledger::run(&plan, &progress).await }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        for fault in faults {
            let (start, before) = (Instant::now(), progress.cast());
            self.inject(*fault).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            let cast = progress.cast() - before;
            say(&format!("{fault:?}: {cast} ballots in {:.1} s", start.elapsed().as_secs_f64()));
        }
        while progress.cast() < ballots && !load.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        progress.stop();
        load.await?
    }

    async fn inject(&mut self, fault: Fault) {
        let during = |mode, millis| {
            let proxy = self.proxy.clone();
            async move {
                proxy.set(mode);
                tokio::time::sleep(Duration::from_millis(millis)).await;
                proxy.set(Mode::Open);
            }
        };
        match fault {
            Fault::KillApp => {
                self.apps[0].signal(Signal::Kill);
                self.apps[0].wait().await;
                tokio::time::sleep(Duration::from_millis(500)).await;
                self.apps[0].restart().await;
            }
            Fault::TerminateApp => {
                self.apps[1].signal(Signal::Terminate);
                let stopwatch = Stopwatch::start();
                let status = self.apps[1].wait().await;
                assert!(status.success(), "{status}");
                // The delay before the drain and the deadline of the drain.
                stopwatch.assert_within(Duration::from_secs(3 + 10), "shutdown");
                self.apps[1].restart().await;
            }
            Fault::KillAnalytics => {
                self.analytics.signal(Signal::Kill);
                self.analytics.wait().await;
                tokio::time::sleep(Duration::from_millis(500)).await;
                self.analytics.restart().await;
            }
            Fault::KillStore => {
                self.store.server().kill().await;
                self.store.server().restart().await;
            }
            Fault::FreezeStore => {
                self.store.server().signal(Signal::Stop);
                tokio::time::sleep(Duration::from_secs(5)).await;
                self.store.server().signal(Signal::Continue);
            }
            Fault::DropAnswers => during(Mode::DropAnswers, 1000).await,
            Fault::CutConnections => during(Mode::Closed, 1000).await,
            Fault::SilentNetwork => during(Mode::Silent, 4000).await,
        }
    }
}
