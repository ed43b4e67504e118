//! The tutorial's steps, as the way to a state of the system.

use std::collections::HashSet;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use voting_tests::kubernetes::{Shell, no_voting, repository};
use voting_tests::load::{Load, Report, votes_shown};
use voting_tests::tutorial::{Block, Track, blocks_of};

use crate::{controller, metrics_api};

/// The steps on a cluster.
#[derive(Debug)]
pub struct Steps {
    pub shell: Shell,
    pub blocks: Vec<Block>,
    pub track: Track,
}

impl Steps {
    /// Reads a track of the tutorial, and refuses a cluster on which it was begun.
    pub async fn new(track: Track) -> anyhow::Result<Self> {
        let shell = Shell::new(None).await?;
        no_voting(&shell).await?;
        let steps = Self { shell, blocks: Vec::new(), track };
        Ok(Self { blocks: steps.document("docs/tutorial.md")?, ..steps })
    }

    /// The blocks of a document for the track.
    pub fn document(&self, path: &str) -> anyhow::Result<Vec<Block>> {
        Ok(blocks_of(&std::fs::read_to_string(repository().join(path))?, self.track))
    }

    /// Renders the manifests with a component and the tutorial's commands, in a copy of the repository's files, where the following
    /// commands run.
    pub async fn render(&self, component: &str) -> anyhow::Result<TempDir> {
        let folder = TempDir::new()?;
        let mut chapter = self.blocks.iter().filter(|block| block.subsection == "Manifests for your cluster");
        let commands = &chapter.next_back().context("the commands that render the manifests")?.commands;
        let script = format!(
            "set -e
            cp -r k8s istio gateway-api kustomize {folder}
            cd {folder}
            sed -i 's#components: .*#components: [../{component}]#' kustomize/cluster/kustomization.yaml
            {commands}",
            folder = folder.path().display()
        );
        self.shell.run(&script).await.context("rendering the manifests")?;
        self.shell.go_to(&folder.path().join("my-cluster"));
        Ok(folder)
    }

    /// Creates the namespace.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        self.shell.run("kubectl apply -f k8s/step-0-create-namespace.yaml").await.map(drop)
    }

    /// Runs the commands of a step.
    pub async fn take(&self, step: &str) -> anyhow::Result<()> {
        self.take_if(step, |_| true).await
    }

    /// Runs some of the commands of a step.
    pub async fn take_if(&self, step: &str, is: impl Fn(&Block) -> bool) -> anyhow::Result<()> {
        let is_of_step = |block: &&Block| block.step() == step && block.is_on_the_main_way() && is(block);
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

    /// Runs the commands of the way back from a step.
    pub async fn take_back(&self, step: &str) -> anyhow::Result<()> {
        let blocks: Vec<_> =
            self.blocks.iter().filter(|block| block.step() == step && block.is_of_the_way_back()).collect();
        ensure!(!blocks.is_empty(), "the tutorial has no way back from {step}");
        for block in blocks {
            self.shell.run(&block.commands).await.with_context(|| block.commands.clone())?;
        }
        Ok(())
    }

    /// The votes on the pages with these cookies together.
    pub async fn votes(&self, pages: &[Option<&str>]) -> anyhow::Result<u64> {
        votes_shown(&self.url().await?, pages).await
    }

    /// Takes the steps up to this one, on a cluster without any.
    pub async fn to(&self, last: &str) -> anyhow::Result<()> {
        self.prepare().await?;
        for step in ["Step 1", "Step 2", "Step 3"] {
            println!("{step}");
            self.take(step).await?;
            if step == last {
                break;
            }
        }
        Ok(())
    }

    /// Ends the voters of step 2 or 3, and prints the account of their ballots.
    pub async fn account_for(&self, mut load: Load) -> anyhow::Result<Report> {
        load.stop().await;
        let mut stored: HashSet<_> = self.shell.ballots_in_redis().await?.into_iter().collect();
        let mut pages = vec![None];
        if self.shell.run("kubectl get deployment/voting-storage-2-0 --namespace voting").await.is_ok() {
            stored.extend(self.shell.ballots_in_mysql().await?);
            pages.push(Some("featureflag=on"));
        }
        let report = load.report(&stored, &pages).await?;
        println!("\n{report}\n");
        Ok(report)
    }

    /// The URL of the page, without a trailing slash.
    pub async fn url(&self) -> anyhow::Result<String> {
        Ok(format!("http://{}", self.shell.run("echo $INGRESS_IP").await?.trim()))
    }

    /// Removes everything.
    pub async fn clean_up(&self) -> anyhow::Result<()> {
        // A test may have left the folder, and removed it.
        self.shell.go_to(&repository());
        let api = metrics_api::remove(&self.shell).await;
        let secret = "kubectl delete secret voting-app-tls --namespace istio-system --ignore-not-found";
        let secret = self.shell.run(secret).await;
        let namespaces = self.shell.run("kubectl delete namespace voting outside --ignore-not-found").await;
        let definitions = controller::remove_definitions(&self.shell).await;
        api.and(secret.map(drop)).and(namespaces.map(drop)).and(definitions)
    }
}
