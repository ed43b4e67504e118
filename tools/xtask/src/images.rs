//! `cargo xtask images`: builds of all images.

use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::command::{self, say};
use crate::{install, workspace};

/// Maximum size of an unpacked image of voting-app, in bytes.
const MAX_APP: u64 = 40_000_000;

/// Builds all images and prints their sizes.
///
/// # Errors
/// No Docker engine, a failed build, or an image of voting-app over [`MAX_APP`].
pub fn run() -> anyhow::Result<()> {
    install::docker()?;
    command::run(bake().arg("--load"))?;
    say(format_args!("\n{:<24}{:>10}", "image", "unpacked"));
    for image in names()? {
        let size = unpacked(&image)?;
        say(format_args!("{image:<24}{:>7.1} MB", megabytes(size)));
        if image.starts_with("voting-app:") && size > MAX_APP {
            bail!("{image} unpacks to {:.1} MB; allowed: {:.0} MB", megabytes(size), megabytes(MAX_APP));
        }
    }
    Ok(())
}

fn bake() -> Command {
    let mut docker = Command::new("docker");
    docker.args(["buildx", "bake", "--file", "docker/docker-bake.hcl"]).current_dir(workspace::root());
    // The commit, and whether there are uncommitted changes.
    let git = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"];
    if let Ok(revision) = command::output(Command::new("git").args(git).current_dir(workspace::root())) {
        docker.env("REVISION", revision.trim());
    }
    docker.env_remove("REGISTRY");
    docker
}

/// The image names in the bake file.
fn names() -> anyhow::Result<Vec<String>> {
    let plan: Value = serde_json::from_str(&command::output(bake().arg("--print"))?)?;
    let targets = plan["target"].as_object().context("the bake file has no targets")?;
    let tags = targets.values().filter_map(|target| target["tags"][0].as_str());
    Ok(tags.map(ToOwned::to_owned).collect())
}

/// Size of the layers of an image on disk, in bytes. (The size in `docker images` depends on the storage driver.)
fn unpacked(image: &str) -> anyhow::Result<u64> {
    let layers = ["history", "--human=false", "--format={{.Size}}", image];
    let sizes = command::output(Command::new("docker").args(layers))?;
    sizes.lines().map(|size| size.parse::<u64>().with_context(|| format!("the size of {image}"))).sum()
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
