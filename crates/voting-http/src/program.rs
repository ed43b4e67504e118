//! A service as a program: from its settings to its exit code, with its two ports in between.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use axum::Router;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::AdminPort;
use crate::config::ServeArgs;
use crate::host::LocalHosts;
use crate::lifecycle::Lifecycle;
use crate::listener::listen;
use crate::other_votes::report_other_votes;
use crate::server::{ClientLimits, ConnectionMetrics, Server};

/// Reads the settings of a program from its arguments and environment and runs it. An error is one line on the standard
/// error.
pub fn main<C: clap::Parser, F>(name: &str, run: impl FnOnce(C) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let start = || {
        let settings = voting_config::parse()?;
        voting_config::runtime()?.block_on(run(settings))
    };
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere to report a failed write to the standard error.
            let _ = writeln!(std::io::stderr(), "{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A service that is ready to run.
pub struct Program {
    /// The component's name.
    pub name: &'static str,
    /// The component's release.
    pub release: &'static str,
    /// The routes of the public port.
    pub routes: Router,
    /// The routes of the operator's port.
    pub admin: AdminPort,
    /// The state that the routes watch for the shutdown.
    pub lifecycle: Lifecycle,
}

impl Program {
    /// Serves both ports until the shutdown is complete.
    ///
    /// # Errors
    /// One line for the operator: a port can't be listened on, or both are the same.
    pub async fn run(self, settings: &ServeArgs) -> anyhow::Result<()> {
        let Self { name: component, release, routes, mut admin, lifecycle } = self;
        settings.check_ports()?;
        let shutdown = settings.shutdown();
        lifecycle.close_on_signals(shutdown).context("signal handlers can't be installed")?;
        let listener = listen(settings.address()).await?;
        let admin_listener = listen(settings.admin_address()).await?;
        let (address, admin_address) = (listener.local_addr()?, admin_listener.local_addr()?);
        let store = admin.store().kind();
        tracing::info!(component, release, %address, %admin_address, %store, "listening");

        let _other_votes = AbortOnDropHandle::new(tokio::spawn(report_other_votes(admin.store())));
        let metrics = ConnectionMetrics::register(admin.registry());
        let mut admin = admin.routes(lifecycle.clone());
        // A port that only this machine reaches is meant for its users, not for the web pages that they visit. In a
        // cluster its clients use the pod's address or the name of a service.
        if settings.listen_address.is_loopback() {
            admin = LocalHosts::of(settings.listen_address, []).guard(admin);
        }
        let public = Server { deadline: shutdown.deadline, limits: settings.client_limits(), metrics };
        let operator = Server {
            deadline: shutdown.deadline,
            limits: ClientLimits::OPERATOR,
            metrics: ConnectionMetrics::default(),
        };
        tokio::join!(
            public.serve(listener, routes, &lifecycle),
            operator.serve(admin_listener, admin, &lifecycle),
        );
        Ok(())
    }
}
