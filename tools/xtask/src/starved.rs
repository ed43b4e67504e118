//! `cargo xtask test --starved`: tests that depend on speed fail here, not on a slow machine later.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::command::{self, say};
use crate::workspace;

/// Test programs that use real servers and processes. They use separate servers and ports, so that they can run
/// concurrently.
const SUITES: [&str; 4] = ["storage", "services", "local", "faults"];

const LOOPS_PER_CORE: usize = 3;

/// Limit of one run.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Builds the test programs and runs them repeatedly. Prints one line per run.
///
/// # Errors
/// A build or a run failed.
pub fn run(runs: u32) -> anyhow::Result<()> {
    let programs = workspace::programs()?;
    let suites = build()?;
    let logs = workspace::target()?.join("starved");
    std::fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
    let cores = std::thread::available_parallelism()?.get();
    say(format_args!(
        "{runs} runs with {} busy loops on {cores} cores; logs in {}",
        LOOPS_PER_CORE * cores,
        logs.display()
    ));
    // The threads end with this process, however it ends.
    for _ in 0..LOOPS_PER_CORE * cores {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    let mut failed = 0;
    for number in 1..=runs {
        failed += u32::from(!run_once(number, &suites, &programs, &logs)?);
    }
    ensure!(failed == 0, "{failed} of {runs} runs failed");
    Ok(())
}

/// A test program.
struct Suite {
    name: &'static str,
    path: PathBuf,
}

fn build() -> anyhow::Result<Vec<Suite>> {
    let mut cargo = workspace::cargo();
    cargo.args([
        "test",
        "--quiet",
        "--locked",
        "--package",
        "voting-tests",
        "--no-run",
        "--message-format=json",
    ]);
    cargo.args(SUITES.iter().flat_map(|name| ["--test", name])).stderr(Stdio::inherit());
    let messages = command::output(&mut cargo)?;
    let messages: Vec<Value> = messages
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("the messages of cargo")?;
    SUITES
        .into_iter()
        .map(|name| {
            let path = messages
                .iter()
                .filter(|message| message["target"]["name"] == name && message["target"]["kind"][0] == "test")
                .find_map(|message| message["executable"].as_str());
            Ok(Suite { name, path: path.with_context(|| format!("cargo built no test {name}"))?.into() })
        })
        .collect()
}

/// Runs all suites concurrently; returns whether they passed.
fn run_once(number: u32, suites: &[Suite], programs: &Path, logs: &Path) -> anyhow::Result<bool> {
    let start = Instant::now();
    let mut running = Vec::new();
    for suite in suites {
        let path = logs.join(format!("{number}-{}.log", suite.name));
        let log = File::create(&path).with_context(|| path.display().to_string())?;
        let child = Command::new(&suite.path)
            .current_dir(workspace::root().join("tests"))
            .env("VOTING_BINARIES", programs)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| suite.path.display().to_string())?;
        running.push((suite.name, path, child));
    }
    let mut times = Vec::new();
    let mut failures = Vec::new();
    while !running.is_empty() {
        std::thread::sleep(Duration::from_millis(200));
        let seconds = start.elapsed().as_secs();
        let mut rest = Vec::new();
        for (name, path, mut child) in running {
            let Some(passed) = passed(&mut child, start)? else {
                rest.push((name, path, child));
                continue;
            };
            times.push(format!("{name} {seconds} s"));
            if !passed {
                failures.push(failure(name, &path)?);
            }
        }
        running = rest;
    }
    let verdict = if failures.is_empty() { "pass" } else { "FAIL" };
    say(format_args!("run {number}: {verdict}, {} s ({})", start.elapsed().as_secs(), times.join(", ")));
    failures.iter().for_each(|failure| say(format_args!("  {failure}")));
    Ok(failures.is_empty())
}

/// Whether a test program passed; `None` while it runs.
fn passed(child: &mut Child, start: Instant) -> anyhow::Result<Option<bool>> {
    if let Some(status) = child.try_wait()? {
        return Ok(Some(status.success()));
    }
    if start.elapsed() < TIMEOUT {
        return Ok(None);
    }
    child.kill()?;
    child.wait()?;
    Ok(Some(false))
}

fn failure(name: &str, log: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
    let tests: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED")).collect();
    let tests = if tests.is_empty() { "see the log".to_owned() } else { tests.join(", ") };
    Ok(format!("{name}: {tests} ({})", log.display()))
}
