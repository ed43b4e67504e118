//! The project's commands.

mod bench;
mod cluster;
mod cluster_test;
mod command;
mod compose_test;
mod diagrams;
mod doctor;
mod go;
mod images;
mod install;
mod ledger;
mod mesh;
mod rollouts;
mod screenshots;
mod starved;
mod test;
mod tutorial;
mod workspace;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's commands.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Install missing servers and browsers, then run the tests.
    Test(test::TestArgs),
    /// Check the manifests with Istio's own code and run the tutorial on a real Envoy.
    Mesh(mesh::MeshArgs),
    /// Measure the services against minimal baseline servers (release build; about 20 minutes).
    Bench(bench::BenchArgs),
    /// Check the files in progressive-delivery/argo-rollouts with Argo Rollouts' own code.
    Rollouts,
    /// Cast votes and account for each one; with --faults, under every fault; with --nemesis, under random schedules of them.
    Ledger(ledger::LedgerArgs),
    /// Create a Kubernetes cluster with Istio on this machine, in namespaces of its own.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Test that cluster, and the voting app on it.
    ClusterTest(cluster_test::ClusterTestArgs),
    /// Check whether the cluster that kubectl reaches has what the tutorial needs.
    Doctor(doctor::DoctorArgs),
    /// Run docs/tutorial.md word for word on the cluster that kubectl reaches, with voters beside it.
    Tutorial(tutorial::TutorialArgs),
    /// Regenerate the documentation screenshots in docs/images.
    Screenshots,
    /// Rewrite the diagrams in docs/images from the manifests.
    Diagrams,
    /// Build all container images; needs a Docker engine.
    Images,
    /// Build the images and test `docker compose up`: all steps and restarts, under load.
    ComposeTest,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(text) => return show(&text),
    };
    let done = match cli.command {
        Command::Test(arguments) => test::run(&arguments),
        Command::Mesh(arguments) => mesh::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Rollouts => rollouts::run(),
        Command::Ledger(arguments) => ledger::run(&arguments),
        Command::Cluster(command) => cluster::run(&command),
        Command::ClusterTest(arguments) => cluster_test::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Tutorial(arguments) => tutorial::run(&arguments),
        Command::Screenshots => screenshots::run(),
        Command::Diagrams => diagrams::run(),
        Command::Images => images::run(),
        Command::ComposeTest => compose_test::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Prints the help or what is wrong with the arguments.
fn show(text: &clap::Error) -> ExitCode {
    match text.print().and_then(|()| std::io::stdout().flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            fail(&anyhow::Error::new(error).context("can't write to the standard output"))
        }
        _ => ExitCode::from(u8::try_from(text.exit_code()).unwrap_or(1)),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "xtask: {error:#}");
    ExitCode::FAILURE
}
