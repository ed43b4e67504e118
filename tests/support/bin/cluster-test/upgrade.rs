//! The upgrade of Istio by revision, as docs/operations.md describes it, under votes.

use std::path::Path;

use anyhow::{Context as _, ensure};
use voting_tests::load::Load;
use voting_tests::tutorial::blocks;

use crate::steps::Steps;

/// Runs the test in step 3, which has both releases. Afterwards the cluster has Istio's new revision only.
pub async fn run(steps: &Steps) -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = std::fs::read_to_string(path)?;
    let (_, chapter) = text.split_once("## An upgrade of Istio\n").context("the chapter of the upgrade")?;
    let commands = blocks(chapter.split("\n## ").next().unwrap_or_default());
    ensure!(commands.len() == 4, "the upgrade has {} blocks of commands", commands.len());

    steps.to("Step 3").await?;
    let load = Load::start(&steps.url().await?, "no upgrade")?;
    for (name, block) in ["new istiod, gateway", "restart services", "restart stores", "remove old istiod"]
        .iter()
        .zip(commands)
    {
        load.settled().await?;
        println!("{name}");
        load.go_to(name);
        // This cluster's own settings.
        let script = block
            .commands
            .replace("istioctl install", "istioctl install --filename tests/cluster/istio.yaml");
        steps.shell.run(&format!("set -e\n{script}")).await.with_context(|| block.commands.clone())?;
        if *name == "restart stores" {
            let status = steps.shell.run("istioctl proxy-status").await?;
            let old = status.lines().filter(|line| line.contains("istiod-") && !line.contains("istiod-new-"));
            ensure!(old.count() == 0, "pods have the old version:\n{status}");
        }
    }
    load.settled().await?;
    let report = steps.account_for(load).await?;
    report.check_votes()?;
    for name in ["no upgrade", "new istiod, gateway", "restart services", "remove old istiod"] {
        ensure!(report.failed(name) == 0, "{name}: {} requests failed", report.failed(name));
    }
    Ok(())
}
