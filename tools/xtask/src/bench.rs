//! `cargo xtask bench`: the services against minimal baseline servers.

use std::process::Command;

use clap::Args;

use crate::{command, install, workspace};

/// Arguments of `cargo xtask bench`.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub struct BenchArgs {
    /// Arguments of the benchmark; see --help.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    bench: Vec<String>,
}

/// Makes release builds and runs the benchmark.
pub fn run(arguments: &BenchArgs) -> anyhow::Result<()> {
    install::servers()?;
    // Separate builds: the benchmark would add features to the dependencies of the services.
    for packages in [&["voting-app", "voting-analytics", "voting-admin"][..], &["voting-bench"]] {
        let mut build = workspace::cargo();
        build.args(["build", "--locked", "--release"]);
        command::run(build.args(packages.iter().flat_map(|package| ["--package", package])))?;
    }
    let programs = workspace::target()?.join("release");
    command::run(
        Command::new(programs.join("voting-bench"))
            .arg("run")
            .args(&arguments.bench)
            .env("VOTING_BINARIES", &programs)
            .current_dir(workspace::root()),
    )
}
