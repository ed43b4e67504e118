//! Programs in Go: checks that use the code of Istio and Argo Rollouts, and the cluster.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::command::{self, say};

/// The Go version of the `go.mod` files.
const GO: &str = "1.26";

/// Compiles the check in this folder, with these build flags.
pub fn compile(directory: &Path, flags: &[&str]) -> anyhow::Result<()> {
    let module: Vec<_> = flags.iter().copied().filter(|flag| flag.starts_with("-modfile=")).collect();
    download(directory, &module)?;
    build(directory, &[&["test", "-c", "-o", "/dev/null"], flags, &["."]].concat())
}

/// Runs the go command in the module in this folder, and reports progress: the dependencies take minutes.
pub fn run(directory: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    download(directory, &[])?;
    build(directory, arguments)
}

fn download(directory: &Path, flags: &[&str]) -> anyhow::Result<()> {
    let version = Command::new("go").arg("version").output();
    let version = version.with_context(|| format!("Go {GO} or later is required"))?;
    print!("{}", String::from_utf8_lossy(&version.stdout));
    command::run(Command::new("go").args(["mod", "download"]).args(flags).current_dir(directory))
}

fn build(directory: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut go = Command::new("go");
    go.args(arguments).current_dir(directory);
    say(format_args!("+ go {}", arguments[0]));
    let (mut build, start) = (go.spawn()?, Instant::now());
    let mut reported = start;
    let status = loop {
        if let Some(status) = build.try_wait()? {
            break status;
        }
        if reported.elapsed() > Duration::from_secs(30) {
            reported = Instant::now();
            say(format_args!("still compiling after {} s", start.elapsed().as_secs()));
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    if !status.success() {
        bail!("go {} failed ({status})", arguments[0]);
    }
    Ok(())
}
