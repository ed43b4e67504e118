//! `cargo xtask compose-test`: a test of `docker compose up`.

use std::process::Command;

use crate::{command, images, workspace};

/// Builds the images and the programs, then runs the test.
pub fn run() -> anyhow::Result<()> {
    images::run()?;
    let programs = workspace::programs()?;
    command::run(&mut Command::new(programs.join("compose-test")))
}
