//! `cargo xtask bench`: the services against minimal baseline servers.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use crate::{command, install, workspace};

/// Arguments of `cargo xtask bench`.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub struct BenchArgs {
    /// Use unoptimized builds. They show that the benchmark works; the figures mean nothing.
    #[arg(long)]
    unoptimized: bool,
    /// Arguments of the benchmark; see --help.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    bench: Vec<String>,
}

/// Builds the programs and runs the benchmark.
pub fn run(arguments: &BenchArgs) -> anyhow::Result<()> {
    install::servers()?;
    let programs = if arguments.unoptimized { workspace::programs()? } else { optimized()? };
    command::run(
        Command::new(programs.join("voting-bench"))
            .arg("run")
            .args(&arguments.bench)
            .env("VOTING_BINARIES", &programs)
            .current_dir(workspace::root()),
    )
}

/// Separate builds: the benchmark would add features to the dependencies of the services.
fn optimized() -> anyhow::Result<PathBuf> {
    for packages in [&["voting-app", "voting-analytics", "voting-admin"][..], &["voting-bench"]] {
        let mut build = workspace::cargo();
        build.args(["build", "--locked", "--release"]);
        command::run(build.args(packages.iter().flat_map(|package| ["--package", package])))?;
    }
    Ok(workspace::target()?.join("release"))
}
