//! `cargo xtask screenshots`: the screenshots of the documentation.

use std::process::Command;

use crate::{command, install, workspace};

/// Regenerates all screenshots.
pub fn run() -> anyhow::Result<()> {
    install::servers()?;
    install::browser()?;
    command::run(
        Command::new(workspace::programs()?.join("screenshots")).arg(workspace::root().join("docs/images")),
    )
}
