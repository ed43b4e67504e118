//! Running other programs, and reporting it.

use std::fmt::Display;
use std::io::Write as _;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail};

/// Prints a line. That the output is closed or full is no reason to stop.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Runs a command, which inherits the output.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = command_line(command);
    say(format_args!("+ {line}"));
    let status = command.status().with_context(|| format!("cannot start: {line}"))?;
    if !status.success() {
        bail!("failed ({status}): {line}");
    }
    Ok(())
}

/// Runs a command and returns its output.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let line = command_line(command);
    let output = command.output().with_context(|| format!("cannot start: {line}"))?;
    if !output.status.success() {
        bail!("failed ({}): {line}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a step and prints its name and duration.
pub fn step<T>(name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    say(format_args!("xtask: {name}"));
    let done = work().with_context(|| name.to_owned())?;
    say(format_args!("xtask: {name}: {:.0} s", start.elapsed().as_secs_f32()));
    Ok(done)
}

fn command_line(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    words.join(std::ffi::OsStr::new(" ")).to_string_lossy().into_owned()
}
