//! The real Flagger, with a real Prometheus, releases voting-app as docs/operations.md describes it, and voters account for what its
//! copies of pods do to two releases with a store each.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use voting_load::{BallotOutcome, Doubt, Plan, Progress, Report, Voting};
use voting_tests::figure;
use voting_tests::kubernetes::repository;
use voting_tests::tutorial::{Block, Track, blocks_of};

use crate::controller::{Controller, copy, object};
use crate::monitoring::{self, Prometheus};
use crate::steps::Steps;

const FOLDER: &str = "progressive-delivery/flagger";
/// Voters beside a release, and their ballots per second.
const VOTERS: usize = 20;
const RATE: u32 = 10;

/// Who gets the new release during the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The browsers with the feature flag.
    Flagged,
    /// A growing share of the browsers.
    Percentage,
}

struct Test<'a> {
    steps: &'a Steps,
    controller: Controller,
    to: To,
    /// The commands of the document: set up, release, leave.
    blocks: [Block; 3],
    /// The manifests with the settings of the test.
    copy: TempDir,
}

/// Voters that run.
struct Voters {
    progress: Progress,
    load: tokio::task::JoinHandle<anyhow::Result<Report>>,
}

/// Runs the test in step 3 of a track. `definitions` is the file with those of Flagger's resources.
pub async fn run(steps: &Steps, definitions: &Path, to: To) -> anyhow::Result<()> {
    println!("Flagger on the track {:?}, {to:?}", steps.track);
    steps.to("Step 3").await?;
    let prometheus = Prometheus::start()?;
    let _discovery = prometheus.keep_finding_pods().await?;
    let server = format!("--metrics-server={}", monitoring::URL);
    let arguments = [server.as_str(), "--mesh-provider=istio", "--port=18081", "--log-level=info"];
    let controller = Controller::start(&steps.shell, definitions, "flagger", &arguments).await?;
    let replacements = [
        ("http://prometheus-operated.monitoring:9090", monitoring::URL),
        ("    interval: 30s", "    interval: 15s"),
        ("iterations: 10", "iterations: 6"),
    ];
    let (copy, _) = copy(&repository().join(FOLDER), &replacements)?;
    let text = std::fs::read_to_string(repository().join("docs/operations.md"))?;
    let (_, chapter) =
        text.split_once("## An automated canary with Flagger\n").context("the chapter of Flagger")?;
    let blocks = blocks_of(chapter.split("\n## ").next().unwrap_or_default(), steps.track);
    let blocks = blocks.try_into().map_err(|blocks: Vec<_>| anyhow::anyhow!("{} blocks", blocks.len()))?;
    let mut test = Test { steps, controller, to, blocks, copy };
    let done = test.all().await;
    if done.is_err() {
        println!("{:#}", object(&steps.shell, "canary/voting-app").await?["status"]);
    }
    done
}

impl Test<'_> {
    async fn all(&mut self) -> anyhow::Result<()> {
        println!("start");
        self.run(0).await?;
        let is_full = self.steps.track == Track::Istio && self.to == To::Flagged;
        if is_full {
            self.without_traffic().await?;
            self.bad().await?;
        }
        self.good().await?;
        self.leave().await
    }

    /// Runs commands of the document with the copy of the manifests, for the test's canary.
    async fn run(&self, block: usize) -> anyhow::Result<()> {
        let mut script = self.blocks[block].commands.replace(FOLDER, &self.copy.path().display().to_string());
        // What runs until it is interrupted.
        script = script.lines().filter(|line| !line.ends_with("--watch")).collect::<Vec<_>>().join("\n");
        if self.to == To::Percentage {
            script = script.replace("-feature-flag.yaml", "-percentage.yaml");
        }
        self.steps.shell.run(&format!("set -euo pipefail\n{script}")).await.context(script).map(drop)
    }

    /// Waits until the canary has begun another release and ended it; returns how.
    async fn outcome(&mut self, last: &str) -> anyhow::Result<String> {
        let shell = &self.steps.shell;
        let changed = |canary: &Value| (phase(canary) != last).then_some(());
        self.controller.wait(shell, "canary/voting-app", "a new release", changed).await?;
        let ended = |canary: &Value| {
            let phase = phase(canary);
            ["Succeeded", "Failed"].contains(&phase).then(|| phase.to_owned())
        };
        self.controller.wait(shell, "canary/voting-app", "ended", ended).await
    }

    /// The release of the primary.
    async fn primary(&self) -> anyhow::Result<String> {
        let primary = object(&self.steps.shell, "deployment/voting-app-primary").await?;
        let version = &primary["spec"]["template"]["metadata"]["labels"]["version"];
        Ok(version.as_str().context("no version")?.to_owned())
    }

    /// A good release that nobody uses is not promoted.
    async fn without_traffic(&mut self) -> anyhow::Result<()> {
        println!("no voters");
        let start = Instant::now();
        self.run(1).await?;
        let outcome = self.outcome("Initialized").await?;
        let primary = self.primary().await?;
        ensure!(outcome == "Failed" && primary == "1.0", "without voters: {outcome}, primary {primary}");
        figure("no voters", format!("not promoted; taken back after {:.0} s", start.elapsed().as_secs_f32()));
        Ok(())
    }

    /// A bad release is taken back.
    async fn bad(&mut self) -> anyhow::Result<()> {
        println!("error=30%");
        let voters = self.voters().await?;
        let start = Instant::now();
        let set = "kubectl set env deployment/voting-app 'FAULTS=error=30%,seed=7' --namespace voting";
        self.steps.shell.run(set).await?;
        let outcome = self.outcome("Failed").await?;
        let primary = self.primary().await?;
        println!("{}", voters.end().await?);
        ensure!(outcome == "Failed" && primary == "1.0", "error=30%: {outcome}, primary {primary}");
        figure("error=30%", format!("taken back after {:.0} s", start.elapsed().as_secs_f32()));
        Ok(())
    }

    /// A good release is promoted; prints what became of the ballots of its voters.
    async fn good(&mut self) -> anyhow::Result<()> {
        println!("good 2.0");
        let before = phase(&object(&self.steps.shell, "canary/voting-app").await?).to_owned();
        let old: Vec<_> = self.ballots().await?;
        let voters = self.voters().await?;
        let start = Instant::now();
        self.run(1).await?;
        // `kubectl apply` keeps the variable of the bad release.
        let unset = "kubectl set env deployment/voting-app FAULTS- --namespace voting";
        self.steps.shell.run(unset).await?;
        let outcome = self.outcome(&before).await?;
        let primary = self.primary().await?;
        let took = start.elapsed();
        voters.progress.stop();
        let report = voters.end().await?;
        println!("{report}");
        ensure!(outcome == "Succeeded" && primary == "2.0", "good 2.0: {outcome}, primary {primary}");
        let moved: u64 = report
            .doubts
            .iter()
            .map(|doubt| if let Doubt::Moved { ballots, .. } = doubt { *ballots } else { 0 })
            .sum();
        let [redis, mysql] = <[Vec<_>; 2]>::try_from(self.ballots().await?).expect("two stores");
        let both = redis.iter().filter(|id| mysql.contains(id)).count();
        let accepted: u64 = report.total.outcomes[&BallotOutcome::Accepted];
        let stored = redis.len() + mysql.len() - both - old.iter().map(Vec::len).sum::<usize>();
        figure(
            &format!("{:?}, {:?}", self.steps.track, self.to),
            format!(
                "promoted after {:.0} s; {accepted} votes accepted, {moved} of them by another store than that of their page, {both} in both \
                 stores, {} lost; {} failed attempts",
                took.as_secs_f32(),
                accepted.saturating_sub(stored as u64),
                report.total.errors.values().sum::<u64>()
            ),
        );
        // What an answer acknowledged is stored, in whichever store.
        ensure!(stored as u64 >= accepted, "{accepted} votes accepted, {stored} stored");
        Ok(())
    }

    /// Leaves Flagger with release 2.0, under voters, and checks that nothing of it is left.
    async fn leave(&mut self) -> anyhow::Result<()> {
        println!("leaving");
        let voters = self.voters().await?;
        self.run(2).await?;
        let left = "kubectl get canaries,deployments,services,virtualservices,destinationrules,httproutes --namespace voting --output name";
        let start = Instant::now();
        loop {
            let left = self.steps.shell.run(left).await?;
            let left: Vec<_> = left
                .lines()
                .filter(|name| {
                    name.contains("flagger")
                        || name.contains("-primary")
                        || name.ends_with("deployment.apps/voting-app")
                })
                .collect();
            if left.is_empty() {
                break;
            }
            ensure!(start.elapsed() < crate::controller::PATIENCE, "left behind: {left:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let report = voters.end().await?;
        println!("{report}");
        if !report.is_clean() {
            bail!("leaving broke a promise, or it can't be told");
        }
        Ok(())
    }

    /// The ids of all ballots in Redis, and of those in MySQL.
    async fn ballots(&self) -> anyhow::Result<Vec<Vec<[u8; 16]>>> {
        let shell = &self.steps.shell;
        Ok(vec![shell.ballots_in_redis().await?, shell.ballots_in_mysql().await?])
    }

    async fn voters(&self) -> anyhow::Result<Voters> {
        let flagged = if self.to == To::Flagged { VOTERS / 2 } else { 0 };
        let voting = Voting::Browsers { flagged, cookie: None };
        let plan = Plan::until_stopped(self.steps.url().await?, voting, VOTERS, Duration::ZERO);
        let (progress, load) = Plan { rate: Some(RATE), ..plan }.start();
        Ok(Voters { progress, load })
    }
}

impl Voters {
    /// Ends the voters, audits their ballots and returns the account.
    async fn end(self) -> anyhow::Result<Report> {
        self.progress.stop();
        self.load.await?
    }
}

fn phase(canary: &Value) -> &str {
    canary["status"]["phase"].as_str().unwrap_or_default()
}
