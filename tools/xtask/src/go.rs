//! The checks that are written in Go, because what they ask is.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::setup;

/// The Go that the checks' `go.mod` ask for.
const GO: &str = "1.26";

/// Compiles the check in this folder, which is mostly other people's code, and shows that it goes on.
pub fn compile(directory: &Path) -> anyhow::Result<()> {
    let version = Command::new("go").arg("version").output();
    let version = version.with_context(|| format!("this machine lacks Go; install {GO} or later"))?;
    print!("{}", String::from_utf8_lossy(&version.stdout));
    setup::run(Command::new("go").args(["mod", "download"]).current_dir(directory))?;
    let mut go = Command::new("go");
    go.args(["test", "-c", "-o", "/dev/null", "."]).current_dir(directory);
    println!("+ go test -c");
    let (mut build, start) = (go.spawn()?, Instant::now());
    let mut told = start;
    let status = loop {
        if let Some(status) = build.try_wait()? {
            break status;
        }
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            println!("still compiling after {} s", start.elapsed().as_secs());
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    if !status.success() {
        bail!("the check does not compile ({status})");
    }
    Ok(())
}
