//! `cargo xtask diagrams`: the diagrams of the tutorial.

use crate::{command, workspace};

/// Rewrites all diagrams from the manifests, and prints their images with the texts for the documentation.
pub fn run() -> anyhow::Result<()> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--quiet", "--locked", "--package", "voting-tests", "--test", "manifests"]);
    command::run(cargo.args(["the_diagrams_show", "--", "--nocapture"]).env("WRITE_DIAGRAMS", "1"))
}
