//! A cluster that faults are injected into.

use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};

use super::log::Log;
use super::preload::{Disk, Preload};
use super::store::Store;
use super::{AFTER, Change, ClusterRelease, Fault, Schedule};
use voting_load::{Forms, Plan, Progress, Report, Voting};

use crate::balancer::Balancer;
use crate::process::{Service, Signal};
use crate::proxy::Mode;
use crate::{PATIENCE, Stopwatch, eventually};

/// The apps of a cluster for a schedule.
pub(super) const REPLICAS: usize = 2;

/// A service, its clock and disk, and its log.
struct Program {
    service: Service,
    preload: Preload,
    log: Log,
}

impl Program {
    async fn start(name: &str, settings: &[(&str, &str)]) -> Self {
        let (preload, log) = (Preload::start(), Log::start());
        let variables = preload.variables();
        let preloaded = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let settings: Vec<_> = settings.iter().copied().chain(preloaded).collect();
        let service = Service::start_logged(name, &settings, Some(&log.path())).await;
        Self { service, preload, log }
    }

    async fn kill(&mut self) {
        self.service.signal(Signal::Kill);
        self.service.wait().await;
    }
}

/// Several apps behind a balancer, one voting-analytics, and a store behind a proxy, which simulates the network.
pub struct Cluster {
    store: Store,
    release: ClusterRelease,
    analytics: Program,
    apps: Vec<Program>,
    balancer: Balancer,
}

impl Cluster {
    /// Starts all replicas concurrently on an empty store.
    pub async fn start(release: ClusterRelease, replicas: usize) -> Self {
        Self::start_on(Store::start(release).await, release, replicas).await
    }

    async fn start_on(store: Store, release: ClusterRelease, replicas: usize) -> Self {
        let url = store.url();
        let (app, analytics) = match release {
            ClusterRelease::One | ClusterRelease::Volatile => ("1.0", "1.1"),
            ClusterRelease::Two | ClusterRelease::Embedded => ("2.0", "2.0"),
        };
        let settings = [("RELEASE", analytics), ("STORAGE_URL", url)];
        let analytics = Program::start("voting-analytics", &settings).await;
        let analytics_url = analytics.service.url("");
        let mut starts = JoinSet::new();
        for _ in 0..replicas {
            let (url, analytics_url) = (url.to_owned(), analytics_url.clone());
            starts.spawn(async move {
                let settings = [("RELEASE", app), ("STORAGE_URL", &url), ("ANALYTICS_URL", &analytics_url)];
                Program::start("voting-app", &settings).await
            });
        }
        let apps = starts.join_all().await;
        let balancer = Balancer::start(apps.iter().map(|app| &app.service)).await;
        Self { store, release, analytics, apps, balancer }
    }

    /// Starts a cluster, runs a load, and injects the faults of the schedule meanwhile.
    ///
    /// # Errors
    /// Those of [`voting_load::run`].
    pub async fn play(schedule: &Schedule, say: impl Fn(&str)) -> anyhow::Result<Report> {
        let fails_over = schedule.events.iter().any(|event| event.fault == Fault::Failover);
        let store = match schedule.release {
            ClusterRelease::Two if fails_over => Store::replicated_mysql().await,
            release => Store::start(release).await,
        };
        Self::play_on(store, schedule, say).await
    }

    async fn play_on(store: Store, schedule: &Schedule, say: impl Fn(&str)) -> anyhow::Result<Report> {
        let mut cluster = Self::start_on(store, schedule.release, REPLICAS).await;
        let (progress, load) = cluster.load(8, Duration::from_millis(20), true);
        // A fault before the first votes would have nothing to lose.
        let has_votes = || async { progress.cast() >= 20 || load.is_finished() };
        eventually("votes before the first fault", PATIENCE, has_votes).await;
        tokio::time::sleep(AFTER).await;
        let start = Instant::now();
        for (at, change) in schedule.changes() {
            tokio::time::sleep(Duration::from_millis(at).saturating_sub(start.elapsed())).await;
            match change {
                Change::Begin(fault) => cluster.begin(fault).await,
                Change::End(fault) => cluster.end(fault).await,
            }
            say(&format!("{:.1} s: {change:?}", start.elapsed().as_secs_f64()));
        }
        cluster.recovery().await;
        tokio::time::sleep(AFTER).await;
        progress.stop();
        load.await?
    }

    /// Runs a load of at least this number of ballots and injects the faults one after the other, each for its number of
    /// milliseconds.
    ///
    /// # Errors
    /// Those of [`voting_load::run`].
    pub async fn run(
        &mut self,
        faults: &[(Fault, u64)],
        ballots: u64,
        voters: usize,
        say: impl Fn(&str),
    ) -> anyhow::Result<Report> {
        let (progress, load) = self.load(voters, Duration::from_millis(2), false);
        tokio::time::sleep(AFTER).await;
        for (fault, length) in faults {
            let (start, before) = (Instant::now(), progress.cast());
            self.begin(*fault).await;
            tokio::time::sleep(Duration::from_millis(*length)).await;
            self.end(*fault).await;
            tokio::time::sleep(AFTER).await;
            let cast = progress.cast() - before;
            say(&format!("{fault:?}: {cast} ballots in {:.1} s", start.elapsed().as_secs_f64()));
        }
        while progress.cast() < ballots && !load.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        progress.stop();
        load.await?
    }

    /// Voters, each of whom casts ballots until the load is stopped.
    fn load(
        &self,
        voters: usize,
        pause: Duration,
        leave_some: bool,
    ) -> (Progress, JoinHandle<anyhow::Result<Report>>) {
        let voting = Voting::Forms(Forms::default());
        Plan { leave_some, ..Plan::until_stopped(self.balancer.url(), voting, voters, pause) }.start()
    }

    /// Waits until each app reaches the store again.
    async fn recovery(&mut self) {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let start = Instant::now();
        for app in &self.apps {
            let url = app.service.admin_url("/readyz");
            while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                assert!(start.elapsed() < PATIENCE, "an app does not recover");
                // A full disk can end a store some time after there is room again.
                self.store.restart_if_it_exited().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// The disk of a SQLite file is that of the programs that use it.
    fn set_disk(&self, disk: Disk) {
        for program in self.apps.iter().chain([&self.analytics]) {
            program.preload.set_disk(disk);
        }
    }

    async fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::KillApp(app) => self.apps[app].kill().await,
            Fault::TerminateApp(app) => {
                let app = &mut self.apps[app].service;
                app.signal(Signal::Terminate);
                let stopwatch = Stopwatch::start();
                let status = app.wait().await;
                assert!(status.success(), "{status}");
                // The delay before the drain and the deadline of the drain.
                stopwatch.assert_within(Duration::from_secs(3 + 10), "shutdown");
            }
            Fault::FreezeApp(app) => self.apps[app].service.signal(Signal::Stop),
            Fault::AppClock(app, seconds) => self.apps[app].preload.set_clock_offset(seconds),
            Fault::BlockLog(app) => self.apps[app].log.block(true),
            Fault::KillAnalytics => self.analytics.kill().await,
            Fault::FreezeAnalytics => self.analytics.service.signal(Signal::Stop),
            Fault::AnalyticsClock(seconds) => self.analytics.preload.set_clock_offset(seconds),
            Fault::DropAnswers => self.store.network(Mode::DropAnswers),
            Fault::CutConnections => self.store.network(Mode::Closed),
            Fault::SilentNetwork => self.store.network(Mode::Silent),
            Fault::DistantStore(millis) => self.store.network(Mode::Distant(Duration::from_millis(millis))),
            Fault::HalfOpenConnections => self.store.network(Mode::HalfOpen),
            Fault::FullDisk if self.release == ClusterRelease::Embedded => self.set_disk(Disk::Full),
            Fault::ReadOnlyStore if self.release == ClusterRelease::Embedded => self.set_disk(Disk::ReadOnly),
            of_store => self.store.begin(of_store).await,
        }
    }

    async fn end(&mut self, fault: Fault) {
        match fault {
            Fault::KillApp(app) | Fault::TerminateApp(app) => self.apps[app].service.restart().await,
            Fault::FreezeApp(app) => self.apps[app].service.signal(Signal::Continue),
            Fault::AppClock(app, _) => self.apps[app].preload.set_clock_offset(0),
            Fault::BlockLog(app) => self.apps[app].log.block(false),
            Fault::KillAnalytics => self.analytics.service.restart().await,
            Fault::FreezeAnalytics => self.analytics.service.signal(Signal::Continue),
            Fault::AnalyticsClock(_) => self.analytics.preload.set_clock_offset(0),
            Fault::DropAnswers
            | Fault::CutConnections
            | Fault::SilentNetwork
            | Fault::DistantStore(_)
            | Fault::HalfOpenConnections => self.store.network(Mode::Open),
            Fault::FullDisk | Fault::ReadOnlyStore if self.release == ClusterRelease::Embedded => {
                self.set_disk(Disk::Writable);
            }
            of_store => self.store.end(of_store).await,
        }
    }
}
