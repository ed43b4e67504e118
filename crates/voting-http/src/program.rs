//! A service as a program: its two ports, from the start to the shutdown, and its exit code.

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use prometheus_client::registry::Registry;
use utoipa::openapi::OpenApi;
use voting_core::Choices;
use voting_storage::VoteStore;

use crate::config::ServeArgs;
use crate::lifecycle::Lifecycle;
use crate::server::{allow_many_connections, listen, serve};
use crate::{admin, telemetry};

/// A service that is ready to be run.
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// The release that it serves.
    pub release: &'static str,
    /// What it answers.
    pub routes: Router,
    /// The description of what it answers.
    pub api: OpenApi,
    /// What `/readyz` asks.
    pub store: Arc<dyn VoteStore>,
    /// The poll.
    pub choices: Choices,
    /// What `/metrics` shows.
    pub registry: Registry,
    /// What its routes watch for the shutdown.
    pub lifecycle: Lifecycle,
}

impl Program {
    /// Serves both ports until the program is asked to leave.
    ///
    /// # Errors
    /// One line for the operator: a port can't be listened on, or a variable of the telemetry can't be used.
    pub async fn run(self, settings: &ServeArgs) -> anyhow::Result<()> {
        let Self { name, release, routes, api, store, choices, registry, lifecycle } = self;
        allow_many_connections();
        let shutdown = settings.shutdown();
        lifecycle.close_on_signals(shutdown)?;
        let listener = listen(settings.address()).await?;
        let admin_listener = listen(settings.admin_address()).await?;
        let telemetry = telemetry::start(name, release, settings.log_format, telemetry::DEFAULT_LOG)?;
        let (address, admin_address) = (listener.local_addr()?, admin_listener.local_addr()?);
        tracing::info!(release, %address, admin = %admin_address, store = %store.kind(), "{name} serves.");

        let admin = admin::routes(lifecycle.clone(), store, &choices, registry, &api);
        let limits = settings.client_timeouts();
        tokio::join!(
            serve(listener, routes, &lifecycle, shutdown.deadline, limits),
            serve(admin_listener, admin, &lifecycle, shutdown.deadline, limits),
        );
        telemetry.finish();
        Ok(())
    }
}

/// Reads the settings of a program from its arguments and environment, runs it, and reports an error in one line.
pub async fn main<C: clap::Parser, F>(name: &str, run: impl FnOnce(C) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let result = match voting_config::parse() {
        Ok(settings) => run(settings).await,
        Err(error) => Err(error.into()),
    };
    exit_code(name, result)
}

/// The exit code of a program that ended like this; what went wrong goes to the standard error in one line.
pub fn exit_code(program: &str, done: Result<(), impl Display>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
