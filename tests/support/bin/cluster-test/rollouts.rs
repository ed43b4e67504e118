//! The real controller of Argo Rollouts, with a real Prometheus, promotes a good release 2.0 and takes every bad one back, as
//! docs/operations.md describes it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::task::JoinHandle;
use voting_tests::figure;
use voting_tests::kubernetes::{Shell, repository};
use voting_tests::load::Load;
use voting_tests::tutorial::{Block, blocks};

use crate::controller::{Controller, PATIENCE, copy, object};
use crate::monitoring::{self, Prometheus};
use crate::probe::Probe;
use crate::steps::Steps;

const FOLDER: &str = "progressive-delivery/argo-rollouts";

/// A bad release.
struct Bad {
    /// The component whose release 2.0 has them.
    component: &'static str,
    faults: &'static str,
    /// The metric that must notice it; empty: the pods never become ready.
    metric: &'static str,
}

const fn of_app(faults: &'static str, metric: &'static str) -> Bad {
    Bad { component: "voting-app", faults, metric }
}

/// Those of each run.
const SOME: &[Bad] = &[of_app("error=30%", "error-ratio"), of_app("lose=2%", "account")];

/// The whole list of docs/rehearsals.md.
const ALL: &[Bad] = &[
    of_app("double=2%", "account"),
    Bad { component: "voting-analytics", faults: "wrong-summary=20%", metric: "account" },
    of_app("crash-after=500", "restarts"),
    of_app("latency=1500ms", "p99"),
    of_app("tail=2%:2s", "p99"),
    of_app("leak=1MiB", "restarts"),
    of_app("slow-start=1200s,lying-readyz", "error-ratio"),
    of_app("error=5%", "error-ratio"),
    of_app("lose=2%", "account"),
    of_app("slow-start=1200s", ""),
    of_app("failing-livez", ""),
];

/// What a canary of a bad release did.
#[derive(Debug)]
struct Rollback {
    /// From the first answer of the release.
    detected: Option<Duration>,
    /// From the abort to the last answer of the release.
    back: Duration,
    why: String,
    account: Option<String>,
}

struct Test<'a> {
    steps: &'a Steps,
    controller: Controller,
    probe: Probe,
}

/// Runs the test in step 3. `definitions` is the folder with those of Argo Rollouts' resources.
pub async fn run(steps: &Steps, definitions: &Path, all_faults: bool) -> anyhow::Result<()> {
    steps.to("Step 3").await?;
    let prometheus = Prometheus::start()?;
    let _discovery = prometheus.keep_finding_pods().await?;
    let arguments = ["--leader-elect=false", "--metricsPort=18090", "--healthzPort=18080"];
    let controller = Controller::start(&steps.shell, definitions, "rollouts-controller", &arguments).await?;
    let prometheus_argument = format!("{{name: prometheus, value: \"{}\"}}", monitoring::URL);
    // A good release on a busy machine is not a slow one.
    let latency = if all_faults { "result[0] > 1" } else { "result[0] > 5" };
    let good_latency = if all_faults { "result[0] <= 1" } else { "result[0] <= 5" };
    let (_copy, folder) = copy(
        &repository().join(FOLDER),
        &[
            // With a line end: not those of one percent.
            ("result[0] > 1\n", &format!("{latency}\n")),
            ("result[0] <= 1\n", &format!("{good_latency}\n")),
            (
                "{name: prometheus, value: \"http://prometheus-operated.monitoring:9090\"}",
                prometheus_argument.as_str(),
            ),
            // Without waiting for a day of votes.
            ("pause: {duration: 30m}", "pause: {duration: 60s}"),
            ("pause: {duration: 15m}", "pause: {duration: 20s}"),
            ("{name: window, value: 25m}", "{name: window, value: 50s}"),
            ("scaleDownDelaySeconds: 600", "scaleDownDelaySeconds: 30"),
            ("abortScaleDownDelaySeconds: 60", "abortScaleDownDelaySeconds: 10"),
        ],
    )?;
    let text = std::fs::read_to_string(repository().join("docs/operations.md"))?;
    let (_, chapter) = text.split_once("## An automated canary\n").context("the chapter of the canary")?;
    let blocks = blocks(chapter.split("\n## ").next().unwrap_or_default());
    let [set_up, release, .., leave] = &blocks[..] else { bail!("{} blocks of commands", blocks.len()) };

    let mut test = Test { steps, controller, probe: Probe::start(&steps.url().await?)? };
    println!("start");
    test.run(set_up, &folder, &[]).await?;
    if all_faults {
        // A fault that is not noticed must not keep the others from being measured.
        let mut unnoticed = Vec::new();
        for bad in ALL {
            if let Err(error) = test.take_back(bad, release).await {
                println!("{}: {error:#}", bad.faults);
                unnoticed.push(bad.faults);
            }
        }
        ensure!(unnoticed.is_empty(), "not taken back as expected: {unnoticed:?}");
        return Ok(());
    }
    test.without_traffic(release).await?;
    let load = Load::start(&steps.url().await?, "before")?;
    for bad in SOME {
        load.go_to(bad.faults);
        test.take_back(bad, release).await?;
    }
    load.go_to("good 2.0");
    test.promote(release).await?;
    load.go_to("leaving");
    test.leave(leave, &folder).await?;
    load.go_to("left");
    load.settled().await?;
    test.account_for(load).await
}

impl Test<'_> {
    /// Runs commands of the document with the copy of the manifests and these replacements.
    async fn run(&self, block: &Block, folder: &Path, replace: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut script = block.commands.replace(FOLDER, &folder.display().to_string());
        for (old, new) in replace {
            ensure!(script.contains(old), "no {old} in {script}");
            script = script.replace(old, new);
        }
        self.steps.shell.run(&format!("set -e\n{script}")).await.with_context(|| script.clone()).map(drop)
    }

    async fn wait<T>(&mut self, what: &str, is: impl Fn(&Value) -> Option<T>) -> anyhow::Result<T> {
        self.controller.wait(&self.steps.shell, "rollout/voting-app", what, is).await
    }

    /// Returns to release 1.0, and waits until no pod of 2.0 is left: nine pods of the app at once may be too many for the node.
    async fn reset(&mut self) -> anyhow::Result<()> {
        let back = "kubectl patch rollout voting-app --type merge --namespace voting \
            --patch '{\"spec\":{\"workloadRef\":{\"name\":\"voting-app-1-0\"}}}'
            kubectl set env deployment/voting-app-2-0 deployment/voting-analytics-2-0 FAULTS- --namespace voting
            kubectl rollout status deployment/voting-analytics-2-0 --namespace voting --timeout=10m";
        self.steps.shell.run(&format!("set -e\n{back}")).await?;
        self.wait("healthy with 1.0", |rollout| is_healthy(rollout).then_some(())).await?;
        let gone = "kubectl wait --for=delete pod --selector app=voting-app,version=2.0 --namespace voting --timeout=10m";
        self.steps.shell.run(gone).await?;
        self.probe.is_back().await;
        self.probe.forget();
        Ok(())
    }

    /// A good release without voters with the feature flag is not promoted.
    async fn without_traffic(&mut self, release: &Block) -> anyhow::Result<()> {
        println!("no voters");
        self.reset().await?;
        self.run(release, Path::new(FOLDER), &[]).await?;
        let paused = |rollout: &Value| {
            let reasons = rollout["status"]["pauseConditions"].as_array().into_iter().flatten();
            let mut reasons = reasons.map(|one| one["reason"].as_str().unwrap_or_default());
            let is_aborted = rollout["status"]["abort"] == true;
            (is_aborted || reasons.any(|reason| reason == "InconclusiveAnalysisRun")).then(|| rollout.clone())
        };
        let rollout = self.wait("paused without a verdict", paused).await?;
        ensure!(rollout["status"]["abort"] != true, "aborted: {}", rollout["status"]["message"]);
        let index = rollout["status"]["currentStepIndex"].as_u64().context("a step")?;
        let step = &rollout["spec"]["strategy"]["canary"]["steps"][usize::try_from(index)?];
        let template = &step["analysis"]["templates"][0]["templateName"];
        ensure!(template == "voting-app-was-used", "paused at {step}");
        // A browser without the flag is still with 1.0.
        let page = "curl --silent --output /dev/null --write-out '%header{x-voting-path}' $INGRESS_IP";
        let path = self.steps.shell.run(page).await?;
        ensure!(path.contains("app=1.0"), "{path}");
        figure("no voters", "the rollout pauses, without a verdict");
        let abort = "kubectl argo rollouts abort voting-app --namespace voting";
        self.steps.shell.run(abort).await?;
        Ok(())
    }

    /// Releases a bad 2.0, which must be taken back without anybody's help.
    async fn take_back(&mut self, bad: &Bad, release: &Block) -> anyhow::Result<()> {
        println!("{} {}", bad.component, bad.faults);
        self.reset().await?;
        let set = format!(
            "set -e
            kubectl set env deployment/{}-2-0 'FAULTS={},seed=7' --namespace voting
            kubectl rollout status deployment/voting-analytics-2-0 --namespace voting --timeout=10m",
            bad.component, bad.faults
        );
        self.steps.shell.run(&set).await?;
        let begin = Instant::now();
        self.run(release, Path::new(FOLDER), &[]).await?;
        let account = follow_the_account().await?;
        let is_over = |rollout: &Value| {
            let status = &rollout["status"];
            let is_new = status["currentPodHash"] != status["stableRS"];
            (is_new && (status["abort"] == true || status["currentStepIndex"].as_u64() >= Some(6)))
                .then(|| rollout.clone())
        };
        let rollout = self.wait("aborted", is_over).await?;
        let aborted = Instant::now();
        ensure!(rollout["status"]["abort"] == true, "{} was not noticed before the flag", bad.faults);
        let answers = self.probe.is_back().await;
        let why = self.reason(&rollout).await?;
        let detected = answers.first.map(|first| aborted.saturating_duration_since(first));
        let back = answers.last.map(|last| last.saturating_duration_since(aborted)).unwrap_or_default();
        // The job ends with its account, also at the abort. Without a ready pod there is none.
        let time = Duration::from_secs(if answers.first.is_some() { 200 } else { 1 });
        let stop = account.abort_handle();
        let account = match tokio::time::timeout(time, account).await {
            Ok(account) => account?.ok(),
            Err(_) => None,
        };
        stop.abort();
        let rollback = Rollback { detected, back, why, account };
        rollback.print(bad, aborted.saturating_duration_since(begin));
        ensure!(
            bad.metric.is_empty() || rollback.why.contains(bad.metric),
            "{}: noticed by {}, not by {}",
            bad.faults,
            rollback.why,
            bad.metric
        );
        Ok(())
    }

    /// Why a rollout was aborted.
    async fn reason(&self, rollout: &Value) -> anyhow::Result<String> {
        let runs = object(&self.steps.shell, "analysisruns").await?;
        let revision = &rollout["metadata"]["annotations"]["rollout.argoproj.io/revision"];
        let mut failed = Vec::new();
        for run in runs["items"].as_array().context("no list of analyses")? {
            if &run["metadata"]["annotations"]["rollout.argoproj.io/revision"] != revision {
                continue;
            }
            let results = run["status"]["metricResults"].as_array().into_iter().flatten();
            for result in results.filter(|result| result["phase"] == "Failed" || result["phase"] == "Error") {
                failed.push(result["name"].as_str().unwrap_or_default().to_owned());
            }
        }
        Ok(if failed.is_empty() {
            rollout["status"]["message"].as_str().unwrap_or_default().to_owned()
        } else {
            failed.join(", ")
        })
    }

    /// A good release with voters is promoted, once it is approved.
    async fn promote(&mut self, release: &Block) -> anyhow::Result<()> {
        println!("good 2.0");
        self.reset().await?;
        let begin = Instant::now();
        self.run(release, Path::new(FOLDER), &[]).await?;
        let waits = |rollout: &Value| {
            let status = &rollout["status"];
            let is_new = status["currentPodHash"] != status["stableRS"];
            let is_at_approval = status["currentStepIndex"] == 8 && status["pauseConditions"].is_array();
            (status["abort"] == true || is_new && is_at_approval).then(|| rollout.clone())
        };
        let rollout = self.wait("waiting for approval", waits).await?;
        if rollout["status"]["abort"] == true {
            bail!("the good release was aborted: {}", self.reason(&rollout).await?);
        }
        let routes = object(&self.steps.shell, "virtualservice/voting-app").await?;
        let routes = routes["spec"]["http"].as_array().context("no routes")?;
        let names: Vec<_> = routes.iter().filter_map(|route| route["name"].as_str()).collect();
        ensure!(names == ["flag", "default"], "routes while the browsers with the flag vote: {names:?}");
        figure("good 2.0", format!("waits for approval after {:.0} s", begin.elapsed().as_secs_f32()));
        self.steps.shell.run("kubectl argo rollouts promote voting-app --namespace voting").await?;
        let promoted = |rollout: &Value| {
            let status = &rollout["status"];
            let is_done = status["currentPodHash"] == status["stableRS"] && is_healthy(rollout);
            (status["abort"] == true || is_done).then(|| rollout.clone())
        };
        let rollout = self.wait("promoted", promoted).await?;
        ensure!(rollout["status"]["abort"] != true, "{}", rollout["status"]["message"]);
        figure("good 2.0", format!("promoted after {:.0} s", begin.elapsed().as_secs_f32()));
        Ok(())
    }

    /// Leaves Argo Rollouts with release 2.0, by the commands of the document for 1.0.
    async fn leave(&mut self, leave: &Block, folder: &Path) -> anyhow::Result<()> {
        println!("leaving");
        let of_2_0 = [
            ("version=2.0", "version=1.0"),
            ("voting-app-1-0", "voting-app-2-0"),
            ("istio/step-3-way-back-everybody-to-1.0.yaml", "istio/step-4-route-everybody-to-2.0.yaml"),
        ];
        self.run(leave, folder, &of_2_0).await?;
        let kinds = "rollouts,analysistemplates,analysisruns,horizontalpodautoscalers,destinationrules,replicasets,jobs";
        let list =
            format!("kubectl get {kinds},serviceaccounts,networkpolicies --namespace voting --output name");
        let start = Instant::now();
        loop {
            let left = self.steps.shell.run(&list).await?;
            let left: Vec<_> = left.lines().filter(|name| is_of_the_controller(name)).collect();
            if left.is_empty() {
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "left behind: {left:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Transfers the votes of 1.0, as in step 4, and accounts for every ballot of the voters.
    async fn account_for(&self, mut load: Load) -> anyhow::Result<()> {
        load.stop().await;
        let is_transfer =
            |block: &Block| block.commands.contains("job") && block.commands.contains("transfer");
        self.steps.take_if("Step 4", is_transfer).await?;
        let redis = self.steps.shell.ballots_in_redis().await?;
        let mysql = self.steps.shell.ballots_in_mysql().await?;
        let report = load.report(&redis.into_iter().chain(mysql).collect(), &[None]).await?;
        println!("\n{report}\n");
        report.check_votes()?;
        for row in ["good 2.0", "leaving", "left"] {
            ensure!(report.failed(row) == 0, "{row}: {} requests failed", report.failed(row));
        }
        Ok(())
    }
}

impl Rollback {
    /// Prints a row of the table of docs/operations.md.
    fn print(&self, bad: &Bad, all: Duration) {
        let detected =
            self.detected.map_or_else(|| "-".to_owned(), |time| format!("{:.0}", time.as_secs_f32()));
        let failed: u64 = self.rows("error: ").sum();
        let figures = [
            detected,
            format!("{:.1}", self.back.as_secs_f32()),
            self.cell("ballots"),
            failed.to_string(),
            self.cell("lost"),
            self.cell("doubled"),
        ];
        if let Some(account) = &self.account {
            println!("{account}");
        }
        figure(
            bad.faults,
            format!("noticed by {} | {} | {:.0} s in all", self.why, figures.join(" | "), all.as_secs_f32()),
        );
    }

    /// The last column of the rows of the account that begin so.
    fn rows(&self, name: &str) -> impl Iterator<Item = u64> {
        let lines =
            self.account.as_deref().unwrap_or_default().lines().filter(move |line| line.starts_with(name));
        lines.filter_map(|line| line.split_whitespace().last()?.parse().ok())
    }

    fn cell(&self, name: &str) -> String {
        self.rows(name).next().map_or_else(|| "-".to_owned(), |votes| votes.to_string())
    }
}

/// Whether a resource is not of the tutorial. Its Deployments, and what belongs to them, have names with a release.
fn is_of_the_controller(name: &str) -> bool {
    let (kind, name) = name.split_once('/').unwrap_or((name, ""));
    let has_release = ["-1-0", "-1-1", "-2-0"].iter().any(|release| name.contains(release));
    match kind.split('.').next().unwrap_or_default() {
        "destinationrule" => name == "voting-app-rollout",
        "serviceaccount" | "networkpolicy" => name.starts_with("voting-load"),
        _ => !has_release,
    }
}

/// Whether all pods are those of the stable release.
fn is_healthy(rollout: &Value) -> bool {
    let status = &rollout["status"];
    status["phase"] == "Healthy"
        && status["observedGeneration"].as_str()
            == rollout["metadata"]["generation"].as_u64().map(|it| it.to_string()).as_deref()
        && status["currentPodHash"] == status["stableRS"]
}

/// Follows the log of the next job of an account.
async fn follow_the_account() -> anyhow::Result<JoinHandle<anyhow::Result<String>>> {
    let shell = Shell::new(None).await?;
    Ok(tokio::spawn(async move {
        let get = "kubectl get pods --selector app=voting-load --field-selector status.phase=Running";
        let follow = format!(
            "until pod=$({get} --namespace voting --output name | head --lines 1) && [ -n \"$pod\" ]; do sleep 0.5; done
            kubectl logs --follow $pod --namespace voting"
        );
        shell.run(&follow).await
    }))
}
