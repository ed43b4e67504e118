//! The tutorial's steps in one process on embedded storage: what `cargo run` starts.
//!
//! The routers are those of the deployed services. Each app calls its analytics over HTTP on loopback, as in the
//! cluster; [`gateway`] stands in for the mesh; [`step`] says what runs in which step.

pub mod cli;
pub mod gateway;
pub mod step;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use voting_analytics::Analytics;
use voting_app::App;
use voting_app::cli::Features;
use voting_core::Choices;
use voting_core::release::{AnalyticsRelease, AppRelease, Release};
use voting_http::lifecycle::Lifecycle;
use voting_http::lifecycle::ShutdownTimeouts;
use voting_http::server::{ClientTimeouts, allow_many_connections, listen, serve};
use voting_http::telemetry::{self, QUIET_LOG};
use voting_storage::transfer::transfer;
use voting_storage::{StoreUrl, open};

use crate::cli::Cli;
use crate::gateway::{Routing, gateway};
use crate::step::Step;

/// How the process leaves: nobody routes to it, so nobody has to notice first.
const SHUTDOWN: ShutdownTimeouts =
    ShutdownTimeouts { wait: Duration::ZERO, deadline: Duration::from_secs(5) };

/// Runs a step until the process is asked to leave.
///
/// # Errors
/// One line: a setting, the port or the data directory can't be used.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let _telemetry = telemetry::start("voting-local", env!("CARGO_PKG_VERSION"), cli.log_format, QUIET_LOG)?;
    allow_many_connections();
    let step = cli.step()?;
    let poll = cli.poll.choices()?;
    prepare_directory(&cli.data_dir)?;
    let address = SocketAddr::new(cli.listen_address, cli.port);
    let listener = listen(address).await?;

    let lifecycle = Lifecycle::new();
    lifecycle.close_on_signals(SHUTDOWN)?;
    let mut environment =
        Environment { poll, title: cli.title, data_dir: cli.data_dir, lifecycle, tasks: JoinSet::new() };
    let routes = environment.build(step).await?;
    let address = listener.local_addr()?;
    println!("{}", step.banner(&format!("http://localhost:{}", address.port())));

    serve(listener, routes, &environment.lifecycle, SHUTDOWN.deadline, ClientTimeouts::default()).await;
    environment.tasks.join_all().await;
    Ok(())
}

/// Makes the data directory, and makes sure that it can be written.
fn prepare_directory(directory: &Path) -> anyhow::Result<()> {
    let shown = directory.display();
    let unusable =
        || format!("DATA_DIR: {shown} can't be used; allowed: a directory that this user may write");
    std::fs::create_dir_all(directory).with_context(unusable)?;
    let probe = directory.join(format!(".write-probe-{}", std::process::id()));
    std::fs::write(&probe, "").with_context(unusable)?;
    std::fs::remove_file(&probe).with_context(unusable)
}

/// What runs: the services, each on the release table's terms, and where their votes are.
struct Environment {
    poll: Choices,
    title: String,
    data_dir: PathBuf,
    lifecycle: Lifecycle,
    tasks: JoinSet<()>,
}

impl Environment {
    /// The gateway of a step, with everything behind it started.
    async fn build(&mut self, step: Step) -> anyhow::Result<Router> {
        Ok(match step {
            Step::Deploy => gateway(Routing::One(self.app("1.0", &["1.0"], false).await?)),
            Step::Update { locked: false } => {
                gateway(Routing::One(self.app("1.0", &["1.0", "1.1"], false).await?))
            }
            Step::Update { locked: true } => gateway(Routing::One(self.app("1.0", &["1.1"], false).await?)),
            Step::Canary => gateway(Routing::ByFlag {
                off: self.app("1.0", &["1.1"], true).await?,
                on: self.app("2.0", &["2.0"], true).await?,
            }),
            Step::Finalize => {
                self.transfer_votes().await?;
                gateway(Routing::One(self.app("2.0", &["2.0"], false).await?))
            }
        })
    }

    /// A release of the app that calls these releases of the analytics in turn.
    async fn app(&mut self, app: &str, analytics: &[&str], has_toggle: bool) -> anyhow::Result<Router> {
        let release: Release<AppRelease> = app.parse()?;
        let mut upstream = Vec::new();
        for version in analytics {
            let release: Release<AnalyticsRelease> = version.parse()?;
            let url = self.store_url(release.0.storage.version)?;
            let (analytics, _) = Analytics::open(release.0, self.poll.clone(), &url)?;
            upstream.push(voting_analytics::routes::routes(analytics));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let analytics_url = format!("http://{}", listener.local_addr()?).parse()?;
        let lifecycle = self.lifecycle.clone();
        self.tasks.spawn(async move {
            let routes = gateway(Routing::InTurn(upstream));
            serve(listener, routes, &lifecycle, SHUTDOWN.deadline, ClientTimeouts::default()).await;
        });
        let features = Features { title: self.title.clone(), featureflag: has_toggle, ..Features::default() };
        let url = self.store_url(release.0.storage.version)?;
        let (app, _) =
            App::open(release.0, self.poll.clone(), features, &url, analytics_url, self.lifecycle.clone())?;
        // Fails here rather than at the first vote.
        app.store.ping().await.with_context(|| url.to_string())?;
        Ok(voting_app::routes::routes(app))
    }

    /// The file that stands for this release of the storage.
    fn store_url(&self, storage: &str) -> anyhow::Result<StoreUrl> {
        let path = self.data_dir.join(format!("voting-storage-{storage}.db"));
        let Some(path) = path.to_str() else {
            bail!("DATA_DIR: {} is not text; allowed: UTF-8", path.display())
        };
        // In a URL these would begin something else.
        let path = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        Ok(format!("sqlite:{path}").parse()?)
    }

    /// The votes of 1.0 go into the store of 2.0, as the tutorial's last step does.
    async fn transfer_votes(&self) -> anyhow::Result<()> {
        let from = open(&self.store_url("1.0")?, &self.poll)?;
        let to = open(&self.store_url("2.0")?, &self.poll)?;
        transfer(from.as_ref(), to.as_ref()).await.context("the votes of 1.0 could not be brought over")?;
        Ok(())
    }
}
