//! The program: a load with its metrics, signals and exit code.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;
use voting_http::admin;
use voting_http::host::LocalHosts;
use voting_http::lifecycle::Lifecycle;
use voting_http::listener::listen;
use voting_http::server::{ClientLimits, ConnectionMetrics, Server};

use crate::cli::Cli;
use crate::plan::Progress;
use crate::progress::show;
use crate::report::Report;
use crate::run::run;
use crate::split::{self, MOST_RATE, Split};

/// A promise was broken.
const BROKEN: u8 = 1;
/// A setting is invalid.
const INVALID: u8 = 2;
/// There is no account, or it can't tell something.
const NO_ACCOUNT: u8 = 3;

/// Reads the settings from the arguments and the environment, and runs the load.
pub async fn main() -> ExitCode {
    let settings = match voting_config::parse::<Cli>().and_then(Cli::within_open_files) {
        Ok(settings) => settings,
        Err(error) => return failed(INVALID, &error.into()),
    };
    match load(&settings).await {
        Ok(report) => account(&report).unwrap_or_else(|error| failed(NO_ACCOUNT, &error)),
        Err(error) => failed(NO_ACCOUNT, &error.context("no account")),
    }
}

async fn load(settings: &Cli) -> anyhow::Result<Report> {
    let plan = settings.plan();
    let progress = Progress::default();
    // The picture shows it before the load begins.
    progress.pace().set_rate(plan.rate);
    let _admin = serve_metrics(settings, &progress).await?;
    let _picture = match settings.picture_address() {
        Some(address) => Some(serve_picture(address, settings, &progress).await?),
        None => None,
    };
    let mut signals = Signals::new()?;
    let Cli { voters, flagged, poll_url, .. } = settings;
    say(&format!("{voters} voters, {flagged}% with the feature flag, at {poll_url}"));

    let _progress = show(progress.clone(), settings.ballots);
    let mut load = std::pin::pin!(run(&plan, &progress));
    tokio::select! {
        report = &mut load => return report,
        signal = signals.next() => say(&format!("{signal} received, ending the load; the audit follows")),
    }
    progress.stop();
    tokio::select! {
        report = load => report,
        signal = signals.next() => anyhow::bail!("{signal} received before the end of the audit"),
    }
}

/// Serves the metrics until the handle is dropped.
async fn serve_metrics(settings: &Cli, progress: &Progress) -> anyhow::Result<AbortOnDropHandle<()>> {
    let labels = [("component".into(), "voting-load".into())];
    let mut registry = Registry::with_labels(labels.into_iter());
    progress.metrics().register(&mut registry);
    let mut routes = admin::of_process(registry);
    if settings.listen_address.is_loopback() {
        routes = LocalHosts::of(settings.listen_address, []).guard(routes);
    }
    let (address, serving) = serve(settings.admin_address(), routes).await.context("ADMIN_PORT")?;
    say(&format!("metrics at http://{address}/metrics"));
    Ok(serving)
}

/// Serves the picture until the handle is dropped.
async fn serve_picture(
    address: SocketAddr,
    settings: &Cli,
    progress: &Progress,
) -> anyhow::Result<AbortOnDropHandle<()>> {
    let Cli { poll_url, voters, flagged, rate, .. } = settings;
    let page = Split::new(
        progress.clone(),
        split::Settings {
            target: format!("{voters} voters, {flagged}% with the feature flag, at {poll_url}"),
            poll_link: None,
            most_rate: rate.unwrap_or_default().max(MOST_RATE),
            has_votes_switch: false,
            pauses_unwatched: false,
        },
    );
    let routes = page.routes().route("/", get(async || Redirect::to("split")));
    // Even where other machines reach the port, no site can give it a name of its own.
    let routes = LocalHosts::of(address.ip(), []).guard(routes);
    let (address, serving) = serve(address, routes).await.context("SPLIT_PORT")?;
    say(&format!("picture at http://{address}/split"));
    Ok(serving)
}

/// Serves one of the operator's ports until the handle is dropped.
async fn serve(address: SocketAddr, routes: Router) -> anyhow::Result<(SocketAddr, AbortOnDropHandle<()>)> {
    let listener = listen(address).await?;
    let address = listener.local_addr()?;
    let server = Server {
        deadline: Duration::ZERO,
        limits: ClientLimits::OPERATOR,
        metrics: ConnectionMetrics::default(),
    };
    let serving = tokio::spawn(async move {
        server.serve(listener, routes, &Lifecycle::new()).await;
    });
    Ok((address, AbortOnDropHandle::new(serving)))
}

/// Prints the account and its verdict.
fn account(report: &Report) -> anyhow::Result<ExitCode> {
    let (code, verdict) = if report.breaks_a_promise() {
        (
            BROKEN,
            "a promise was broken: votes were lost, doubled, or counted though refused, or results were stale or did not add up",
        )
    } else if !report.doubts.is_empty() {
        (NO_ACCOUNT, "no broken promise was found, but the account can't tell everything")
    } else if report.ballots() == 0 {
        (NO_ACCOUNT, "no ballot was cast")
    } else {
        (0, "every promise held")
    };
    voting_config::print(&format!("{report}\n{verdict}\n"))?;
    Ok(ExitCode::from(code))
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let of = |kind| signal(kind).context("signal handlers can't be installed");
        Ok(Self { terminate: of(SignalKind::terminate())?, interrupt: of(SignalKind::interrupt())? })
    }

    /// The name of the next signal.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

fn say(line: &str) {
    // Nowhere to report a failed write to the standard error.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn failed(code: u8, error: &anyhow::Error) -> ExitCode {
    say(&format!("voting-load: {error:#}"));
    ExitCode::from(code)
}
