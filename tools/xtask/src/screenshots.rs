//! `cargo xtask screenshots`: the pictures of the documentation.

use std::process::Command;

use crate::setup;

/// Takes all of them anew.
pub fn run() -> anyhow::Result<()> {
    setup::servers()?;
    setup::browser()?;
    setup::run(
        Command::new(setup::programs()?.join("screenshots")).arg(setup::repository().join("docs/images")),
    )
}
