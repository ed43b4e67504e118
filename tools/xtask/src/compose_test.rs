//! `cargo xtask compose-test`: `docker compose up`, put to the test.

use std::process::Command;

use crate::{images, setup};

/// Builds the images and the programs, then takes compose through the steps.
pub fn run() -> anyhow::Result<()> {
    images::run()?;
    let programs = setup::programs()?;
    setup::run(&mut Command::new(programs.join("compose-test")))
}
