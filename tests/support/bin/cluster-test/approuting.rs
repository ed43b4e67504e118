//! The Gateway API's track without a mesh, as docs/platforms.md describes it for application routing: each step and its way back, under
//! votes, in a namespace without sidecars. The class of the gateway is application routing's, its controller the cluster's Istio.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use voting_tests::kubernetes::repository;
use voting_tests::load::Load;
use voting_tests::tutorial::Block;

use crate::steps::Steps;

const CLASS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: approuting-istio}
spec: {controllerName: istio.io/gateway-controller}
";
/// Waits until the new gateway has its routes.
const SERVED: &str = "(for i in {1..60}; do curl --silent --fail --output /dev/null $INGRESS_IP && exit 0; sleep 1; done; exit 1)";
/// Time limit of new routes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the test.
pub async fn run(steps: &Steps) -> anyhow::Result<()> {
    steps.shell.run(&format!("kubectl apply --filename - <<'END'\n{CLASS}\nEND")).await?;
    let done = take_the_steps(steps).await;
    steps.shell.go_to(&repository());
    // Its gateway first.
    steps.shell.run("kubectl delete namespace voting --ignore-not-found").await?;
    steps.shell.run("kubectl delete gatewayclass approuting-istio").await?;
    done
}

async fn take_the_steps(steps: &Steps) -> anyhow::Result<()> {
    let chapter = steps.document("docs/platforms.md")?.into_iter();
    let chapter: Vec<_> = chapter.filter(|block| block.section == "AKS with application routing").collect();
    let [update, restore, remove] = &chapter[..] else { bail!("{} blocks of commands", chapter.len()) };
    let _folder = steps.render("approuting").await?;
    steps.prepare().await?;
    let mut poll = Poll { steps, load: None, stored: HashSet::new() };

    poll.take("Step 1", false).await?;
    poll.load = Some(Load::start(&steps.url().await?, "Step 1")?);
    poll.assert_path("", "app=1.0, analytics=1.0, storage=1.0").await?;
    poll.take("Step 2", false).await?;
    poll.run(update).await?;
    poll.assert_path("", "app=1.0, analytics=1.1, storage=1.0").await?;
    poll.go_to("Step 2, way back");
    poll.run(restore).await?;
    poll.assert_path("", "app=1.0, analytics=1.0, storage=1.0").await?;
    poll.take("Step 2", false).await?;
    poll.run(update).await?;
    let old = "app=1.0, analytics=1.1, storage=1.0";
    let new = "app=2.0, analytics=2.0, storage=2.0";
    poll.assert_path("", old).await?;

    poll.take("Step 3", false).await?;
    poll.assert_path("", old).await?;
    poll.assert_path("featureflag=on", new).await?;
    assert_no_sidecars(steps).await?;
    poll.take("Step 3", true).await?;
    poll.assert_path("featureflag=on", old).await?;
    poll.go_to("Step 3, again");
    let is_routing = |block: &&Block| block.step() == "Step 3" && block.is_on_the_main_way();
    let mut routing = steps.blocks.iter().filter(is_routing);
    poll.run(routing.rfind(|block| block.commands.starts_with("kubectl apply")).context("no routes")?)
        .await?;
    poll.assert_path("featureflag=on", new).await?;

    poll.take("Step 3b", false).await?;
    poll.assert_path("votingcanary=1.0", old).await?;
    poll.assert_path("votingcanary=2.0", new).await?;
    poll.assert_path("featureflag=on; votingcanary=1.0", new).await?;
    poll.take("Step 3b", true).await?;
    poll.assert_path("votingcanary=2.0", old).await?;

    for is_way_back in [false, true, false] {
        poll.take("Step 4", is_way_back).await?;
        poll.assert_path("votingcanary=1.0", if is_way_back { old } else { new }).await?;
    }
    poll.go_to("Step 5");
    poll.run(remove).await?;
    poll.assert_path("", new).await?;
    poll.end().await
}

/// The poll and its voters.
struct Poll<'a> {
    steps: &'a Steps,
    load: Option<Load>,
    /// Ids of the ballots in stores that were scaled down, and in the end of all.
    stored: HashSet<[u8; 16]>,
}

impl Poll<'_> {
    fn go_to(&self, label: &str) {
        println!("{label}");
        if let Some(load) = &self.load {
            load.go_to(label);
        }
    }

    /// Takes a step of the tutorial, or its way back, but for the commands that apply files of the mesh.
    async fn take(&mut self, step: &str, is_way_back: bool) -> anyhow::Result<()> {
        self.go_to(&if is_way_back { format!("{step}, way back") } else { step.to_owned() });
        let is_left_out = |block: &Block| block.commands.contains(" istio/");
        for block in &self.steps.blocks {
            let is_of_step = block.step() == step && (block.subsection == "Way back") == is_way_back;
            if is_of_step && !is_left_out(block) {
                self.run(block).await?;
                if block.commands.starts_with("INGRESS_IP=") {
                    self.steps.shell.run(SERVED).await.context("no page")?;
                }
            }
        }
        Ok(())
    }

    async fn run(&mut self, block: &Block) -> anyhow::Result<()> {
        if block.commands.contains("deployment/voting-storage-1-0 --replicas=0") {
            self.stored.extend(self.steps.shell.ballots_in_redis().await?);
        }
        let commands = block
            .commands
            .replace("deployment/voting-app-gateway-istio", "deployment/voting-app-gateway-approuting-istio");
        self.steps.shell.run(&format!("set -e\n{commands}")).await.with_context(|| commands.clone()).map(drop)
    }

    /// Waits until ten pages in a row come from these releases.
    async fn assert_path(&self, cookie: &str, path: &str) -> anyhow::Result<()> {
        let ask = "curl --silent --include $INGRESS_IP | tr -d '\\r' | sed -n 's/^x-voting-path: //p'";
        let ask = ask.replace("$INGRESS_IP", &format!("--cookie '{cookie}' $INGRESS_IP"));
        let start = Instant::now();
        loop {
            let paths =
                self.steps.shell.run(&format!("for i in {{1..10}}; do {ask}; done | sort -u")).await?;
            if paths.trim() == path {
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "with {cookie:?}: {paths}instead of {path}");
        }
    }

    /// Ends the voters, and accounts for their ballots.
    async fn end(&mut self) -> anyhow::Result<()> {
        let mut load = self.load.take().context("no voters")?;
        load.stop().await;
        self.stored.extend(self.steps.shell.ballots_in_mysql().await?);
        let report = load.report(&self.stored, &[None]).await?;
        println!("\n{report}\n");
        report.check()
    }
}

/// Only the gateway has a proxy.
async fn assert_no_sidecars(steps: &Steps) -> anyhow::Result<()> {
    let columns =
        "NAME:.metadata.name,CONTAINERS:.spec.containers[*].name,FIRST:.spec.initContainers[*].name";
    let pods = format!("kubectl get pods --namespace voting --no-headers --output custom-columns={columns}");
    let pods = steps.shell.run(&pods).await?;
    let (gateway, others): (Vec<_>, Vec<_>) =
        pods.lines().partition(|line| line.starts_with("voting-app-gateway-approuting-istio-"));
    ensure!(
        !gateway.is_empty() && others.len() >= 7 && others.iter().all(|line| !line.contains("istio")),
        "{pods}"
    );
    Ok(())
}
