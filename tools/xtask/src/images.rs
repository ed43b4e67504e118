//! `cargo xtask images`: every image of the system, on this machine.

use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::setup;

/// The most bytes that an image of voting-app may unpack to.
const MAX_APP: u64 = 40_000_000;

/// Builds all images, and says how large they are.
///
/// # Errors
/// No engine, a build that fails, or an image of voting-app over [`MAX_APP`].
pub fn run() -> anyhow::Result<()> {
    setup::engine()?;
    setup::run(bake().arg("--load"))?;
    println!("\n{:<24}{:>10}", "image", "unpacked");
    for image in names()? {
        let size = unpacked(&image)?;
        println!("{image:<24}{:>7.1} MB", megabytes(size));
        if image.starts_with("voting-app:") && size > MAX_APP {
            bail!("{image} unpacks to {:.1} MB; allowed: {:.0} MB", megabytes(size), megabytes(MAX_APP));
        }
    }
    Ok(())
}

fn bake() -> Command {
    let mut docker = Command::new("docker");
    docker.args(["buildx", "bake", "--file", "docker/docker-bake.hcl"]).current_dir(setup::repository());
    // Which commit this is, and whether it is that alone.
    let git = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"];
    if let Ok(revision) = setup::output(Command::new("git").args(git).current_dir(setup::repository())) {
        docker.env("REVISION", revision.trim());
    }
    docker.env_remove("REGISTRY");
    docker
}

/// The names of the images, from the bake file.
fn names() -> anyhow::Result<Vec<String>> {
    let plan: Value = serde_json::from_str(&setup::output(bake().arg("--print"))?)?;
    let targets = plan["target"].as_object().context("the bake file has no targets")?;
    let tags = targets.values().filter_map(|target| target["tags"][0].as_str());
    Ok(tags.map(ToOwned::to_owned).collect())
}

/// How many bytes the layers of an image have on the disk. (What `docker images` shows depends on the engine's store.)
fn unpacked(image: &str) -> anyhow::Result<u64> {
    let layers = ["history", "--human=false", "--format={{.Size}}", image];
    let sizes = setup::output(Command::new("docker").args(layers))?;
    sizes.lines().map(|size| size.parse::<u64>().with_context(|| format!("the size of {image}"))).sum()
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
