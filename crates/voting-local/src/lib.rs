//! The tutorial's steps in one process on embedded storage, for `cargo run`.
//!
//! The routers are those of the deployed services, and each app calls its analytics over HTTP on loopback.
//!
//! - [`cli`]: the settings.
//!
//! Internal modules: `environment` starts the services of a step; `gateway` stands in for the mesh; `picture` shows where the
//! requests go; `step` lists the steps.

pub mod cli;
mod environment;
mod gateway;
mod picture;
mod step;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use tokio_util::task::AbortOnDropHandle;
use voting_config::InvalidSetting;
use voting_http::host::LocalHosts;
use voting_http::lifecycle::Lifecycle;
use voting_http::listener::listen;
use voting_http::telemetry::{self, QUIET_LOG};

use crate::cli::Cli;
use crate::environment::{Environment, SHUTDOWN, server};
use crate::picture::picture;

/// Runs a step until the process is told to shut down.
///
/// # Errors
/// One line for the operator: an invalid setting, port or data directory.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let _telemetry = telemetry::start("voting-local", env!("CARGO_PKG_VERSION"), cli.log_format, QUIET_LOG)?;
    let step = cli.step()?;
    let poll = cli.poll.choices()?;
    prepare_directory(&cli.data_dir)?;
    let address = SocketAddr::new(cli.listen_address, cli.port);
    let listener = listen(address).await?;

    let lifecycle = Lifecycle::new();
    lifecycle.close_on_signals(SHUTDOWN)?;
    let hosts = LocalHosts::of(cli.listen_address, cli.allowed_hosts);
    let mut environment = Environment::new(poll, cli.title, cli.data_dir, cli.faults, lifecycle.clone());
    let (split, load) = picture();
    let routes = hosts.guard(split.merge(environment.build(step).await?));
    let address = listener.local_addr()?;
    voting_config::print(&format!("{}\n", step.banner(&format!("http://localhost:{}", address.port()))))?;

    // Ends before the connections of its clients are waited for.
    let load = AbortOnDropHandle::new(tokio::spawn(load.run(address)));
    let closing = async {
        lifecycle.closing().await;
        load.abort();
    };
    // Browsers may take localhost for either address.
    let is_default = address.ip() == Ipv4Addr::LOCALHOST;
    let other = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port());
    let other = if is_default { listen(other).await.ok() } else { None };
    let serve = |listener, routes| server().serve(listener, routes, &lifecycle);
    match other {
        Some(other) => drop(tokio::join!(serve(listener, routes.clone()), serve(other, routes), closing)),
        None => drop(tokio::join!(serve(listener, routes), closing)),
    }
    environment.finish().await;
    Ok(())
}

/// Creates the data directory, and checks that it is writable.
fn prepare_directory(directory: &Path) -> Result<(), InvalidSetting> {
    let invalid = |error: std::io::Error| {
        let reason = format!("can't be used ({error}); allowed: a directory that this user may write");
        InvalidSetting::of("DATA_DIR", &directory.to_string_lossy(), reason)
    };
    std::fs::create_dir_all(directory).map_err(invalid)?;
    // Exclusively created under a random name, so that no existing file is opened or truncated.
    let probe = tempfile::Builder::new().prefix(".write-probe-").tempfile_in(directory).map_err(invalid)?;
    probe.close().map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_directory_is_created_and_left_as_it_was() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/b");
        prepare_directory(&directory).unwrap();
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);

        // A planted link under a predictable name must not be followed.
        let victim = parent.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        let link = directory.join(format!(".write-probe-{}", std::process::id()));
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        prepare_directory(&directory).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_not_a_data_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = prepare_directory(file.path()).unwrap_err().to_string();
        assert!(error.starts_with("DATA_DIR: ") && error.contains("can't be used"), "{error}");
    }
}
