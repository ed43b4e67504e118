//! `cargo xtask bench`: the services against the limits of this machine.

use std::process::Command;

use clap::Args;

use crate::setup;

/// What goes on to the benchmark.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// Arguments of the benchmark; --help lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    bench: Vec<String>,
}

/// Builds what is measured for speed, and measures it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    setup::servers()?;
    // The services as the images have them, and apart from them the benchmark, whose dependencies would add to theirs.
    for packages in [&["voting-app", "voting-analytics", "voting-admin"][..], &["voting-bench"]] {
        let mut build = setup::cargo();
        build.args(["build", "--locked", "--release"]);
        setup::run(build.args(packages.iter().flat_map(|package| ["--package", package])))?;
    }
    let programs = setup::target()?.join("release");
    setup::run(
        Command::new(programs.join("voting-bench"))
            .arg("run")
            .args(&arguments.bench)
            .env("VOTING_BINARIES", &programs)
            .current_dir(setup::repository()),
    )
}
