//! The services of a step, and the files of their votes.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use voting_analytics::Analytics;
use voting_app::cli::PageArgs;
use voting_app::{App, Config};
use voting_core::Choices;
use voting_core::release::{AnalyticsRelease, AppRelease, Release};
use voting_faults::FaultPlan;
use voting_http::config::ProxyArgs;
use voting_http::host::LocalHosts;
use voting_http::lifecycle::{Lifecycle, ShutdownTimeouts};
use voting_http::other_votes::report_other_votes;
use voting_http::server::{ClientLimits, ConnectionMetrics, Server};
use voting_storage::transfer::transfer;
use voting_storage::{StoreUrl, open, wait_until_ready};

use crate::gateway::{Routing, gateway};
use crate::step::Step;

/// Without a wait: no load balancer has to notice the shutdown first.
pub const SHUTDOWN: ShutdownTimeouts =
    ShutdownTimeouts { wait: Duration::ZERO, deadline: Duration::from_secs(5) };

/// How long a store may take to be ready.
const STORE_PATIENCE: Duration = Duration::from_secs(15);

/// The server of a port.
pub fn server() -> Server {
    let limits = ClientLimits::default().within_open_files();
    Server { deadline: SHUTDOWN.deadline, limits, metrics: ConnectionMetrics::default() }
}

/// The services of a step.
pub struct Environment {
    poll: Choices,
    title: String,
    data_dir: PathBuf,
    /// Of the newest release of the app.
    faults: Option<FaultPlan>,
    lifecycle: Lifecycle,
    tasks: JoinSet<()>,
}

impl Environment {
    /// An environment without services.
    pub fn new(
        poll: Choices,
        title: String,
        data_dir: PathBuf,
        faults: Option<FaultPlan>,
        lifecycle: Lifecycle,
    ) -> Self {
        Self { poll, title, data_dir, faults, lifecycle, tasks: JoinSet::new() }
    }

    /// Starts the services of a step, and returns the gateway to them.
    pub async fn build(&mut self, step: Step) -> anyhow::Result<Router> {
        let faults = self.faults.take();
        Ok(gateway(match step {
            Step::Deploy => Routing::One(self.app("1.0", &["1.0"], false, faults).await?),
            Step::Update { locked: false } => {
                Routing::One(self.app("1.0", &["1.0", "1.1"], false, faults).await?)
            }
            Step::Update { locked: true } => Routing::One(self.app("1.0", &["1.1"], false, faults).await?),
            Step::Canary => Routing::ByFlag {
                off: self.app("1.0", &["1.1"], true, None).await?,
                on: self.app("2.0", &["2.0"], true, faults).await?,
            },
            Step::Finalize => {
                self.transfer_votes().await?;
                Routing::One(self.app("2.0", &["2.0"], false, faults).await?)
            }
        }))
    }

    /// Waits for the services to stop, after the lifecycle has closed.
    pub async fn finish(self) {
        self.tasks.join_all().await;
    }

    /// Starts a release of the app that calls these releases of the analytics in turn, with these faults.
    async fn app(
        &mut self,
        app: &str,
        analytics: &[&str],
        has_toggle: bool,
        faults: Option<FaultPlan>,
    ) -> anyhow::Result<Router> {
        let release: Release<AppRelease> = app.parse()?;
        let mut upstreams = Vec::new();
        for version in analytics {
            let release: Release<AnalyticsRelease> = version.parse()?;
            let url = self.store_url(release.0.storage.version)?;
            let (analytics, _) = Analytics::open(release.0, self.poll.clone(), &url, None)?;
            upstreams.push(voting_analytics::routes::routes(analytics));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let analytics_url = format!("http://{address}").parse()?;
        let routes = LocalHosts::of(address.ip(), []).guard(gateway(Routing::RoundRobin(upstreams)));
        let lifecycle = self.lifecycle.clone();
        self.tasks.spawn(async move {
            server().serve(listener, routes, &lifecycle).await;
        });
        let page = PageArgs { title: self.title.clone(), featureflag: has_toggle, ..PageArgs::default() };
        let url = self.store_url(release.0.storage.version)?;
        let config = Config {
            release: release.0,
            choices: self.poll.clone(),
            page,
            proxy: ProxyArgs::default(),
            store: &url,
            analytics: analytics_url,
            max_viewers: server().limits.viewers(),
            faults,
        };
        let (app, _) = App::open(config, self.lifecycle.clone())?;
        // Fail here rather than at the first vote. On a slow disk, creating the file takes longer than one call.
        let progress = |_, cause: &str| tracing::warn!(cause, "the store is not ready yet");
        wait_until_ready(app.store.as_ref(), STORE_PATIENCE, progress)
            .await
            .with_context(|| url.to_string())?;
        tokio::spawn(report_other_votes(app.store.clone()));
        Ok(voting_app::routes::routes(app))
    }

    /// The file that stands in for a release of the storage.
    fn store_url(&self, storage: &str) -> anyhow::Result<StoreUrl> {
        let path = self.data_dir.join(format!("voting-storage-{storage}.db"));
        let Some(path) = path.to_str() else {
            bail!("DATA_DIR: {} is not UTF-8; allowed: UTF-8", path.display())
        };
        // Delimiters in a URL.
        let path = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        Ok(format!("sqlite:{path}").parse()?)
    }

    /// Transfers the votes of 1.0 to 2.0, as the tutorial's last step does.
    async fn transfer_votes(&self) -> anyhow::Result<()> {
        let from = open(&self.store_url("1.0")?, &self.poll)?;
        let to = open(&self.store_url("2.0")?, &self.poll)?;
        transfer(from.as_ref(), to.as_ref()).await.context("the votes of 1.0 can't be transferred")?;
        Ok(())
    }
}
