//! `cargo xtask mesh`: the manifests on Istio's control plane and a real Envoy.

use std::path::Path;
use std::process::Command;

use clap::{Args, ValueEnum};

use crate::command::step;
use crate::{command, go, install, workspace};

/// Arguments of `cargo xtask mesh`.
#[derive(Args, Debug)]
pub struct MeshArgs {
    /// Release of Istio whose code is used. Compiling one takes minutes the first time.
    #[arg(long, value_name = "RELEASE", default_value = "1.31")]
    istio: Releases,
}

/// Releases of Istio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Releases {
    /// That of tests/mesh/go.mod.
    #[value(name = "1.31")]
    Newest,
    /// That of tests/mesh/istio-1.30.mod.
    #[value(name = "1.30")]
    Previous,
    /// Each of them.
    All,
}

/// The build flags of the previous release: its dependencies, and the version that its proxies have.
const PREVIOUS: &[&str] = &["-modfile=istio-1.30.mod", "-tags=istio_1_30"];

/// The test that runs the tutorial on its second track.
const SECOND_TRACK: &str = "TestTheTutorialPrintsWhatItShows/Gateway_API";

/// Installs the requirements of the check, builds the programs, and runs it.
pub fn run(arguments: &MeshArgs) -> anyhow::Result<()> {
    step("Redis, MariaDB and curl", || {
        install::servers()?;
        if install::is_installed(&["curl"]) { Ok(()) } else { install::packages(&["curl"]) }
    })?;
    let envoy = step("Envoy", install::envoy)?;
    let programs = step("the programs", workspace::programs)?;
    if arguments.istio != Releases::Previous {
        check("1.31", &[], &envoy, &programs)?;
    }
    if arguments.istio != Releases::Newest {
        check("1.30", PREVIOUS, &envoy, &programs)?;
    }
    Ok(())
}

/// Runs the check with a release of Istio.
fn check(release: &str, flags: &[&str], envoy: &Path, programs: &Path) -> anyhow::Result<()> {
    let directory = workspace::root().join("tests/mesh");
    step(&format!("the control plane of Istio {release} (takes minutes the first time)"), || {
        go::compile(&directory, flags)
    })?;
    // The tutorial begins with empty stores, on each of its tracks.
    for tests in [["-skip", SECOND_TRACK], ["-run", SECOND_TRACK]] {
        step(&format!("the check with Istio {release}, {}", tests.join(" ")), || {
            command::run(
                Command::new(programs.join("with-servers"))
                    .args(["go", "test", "-count=1", "-timeout=20m", "-v"])
                    .args(flags)
                    .args(tests)
                    .arg("./...")
                    .current_dir(&directory)
                    .env("ENVOY", envoy)
                    .env("VOTING_BINARIES", programs),
            )
        })?;
    }
    Ok(())
}
