//! The tutorial's steps, as the way to a state of the system.

use std::path::Path;

use anyhow::{Context as _, ensure};
use voting_tests::kubernetes::{Shell, preconditions};
use voting_tests::tutorial::{Block, blocks};

/// The steps on a cluster.
#[derive(Debug)]
pub struct Steps {
    pub shell: Shell,
    blocks: Vec<Block>,
}

impl Steps {
    /// Reads the tutorial, and checks the cluster.
    pub async fn new() -> anyhow::Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tutorial.md");
        let blocks = blocks(&std::fs::read_to_string(path)?);
        let shell = Shell::new(None).await?;
        preconditions(&shell).await?;
        Ok(Self { shell, blocks })
    }

    /// Creates the namespace.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        self.shell.run("kubectl apply -f k8s/step-0-create-namespace.yaml").await.map(drop)
    }

    /// Runs the commands of a step.
    pub async fn take(&self, step: &str) -> anyhow::Result<()> {
        let is_of_step = |block: &&Block| block.step() == step && block.is_on_the_main_way();
        let blocks: Vec<_> = self.blocks.iter().filter(is_of_step).collect();
        ensure!(!blocks.is_empty(), "the tutorial has no {step}");
        for block in blocks {
            // The gateway of AKS, and what only prints.
            let is_left_out = block.commands.contains("aks-istio") || block.commands.starts_with("istioctl");
            if !is_left_out {
                self.shell.run(&block.commands).await.with_context(|| block.commands.clone())?;
            }
        }
        Ok(())
    }

    /// The URL of the page, without a trailing slash.
    pub async fn url(&self) -> anyhow::Result<String> {
        Ok(format!("http://{}", self.shell.run("echo $INGRESS_IP").await?.trim()))
    }

    /// Removes everything.
    pub async fn clean_up(&self) -> anyhow::Result<()> {
        self.shell.run("kubectl delete namespace voting outside --ignore-not-found").await.map(drop)
    }
}
