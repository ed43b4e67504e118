//! A Prometheus outside of the mesh scrapes the pods as docs/operations.md describes it, and evaluates the alert rules.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use voting_tests::load::Load;

use crate::pods;
use crate::steps::Steps;

/// Time limit of the first scrapes and evaluations.
const PATIENCE: Duration = Duration::from_secs(120);

const CONFIGURATION: &str = "
global: {scrape_interval: 5s, evaluation_interval: 5s}
rule_files: [rules.yml]
scrape_configs: [{job_name: pods, file_sd_configs: [{files: [targets.json]}]}]
";

/// Runs the test in step 3.
pub async fn run(steps: &Steps) -> anyhow::Result<()> {
    steps.to("Step 3").await?;
    let load = Load::start(&steps.url().await?, "scraped")?;
    let folder = TempDir::new()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // The rules are those of the resource for the operator.
    let rules: Value =
        serde_yaml_ng::from_str(&std::fs::read_to_string(root.join("monitoring/rules.yaml"))?)?;
    std::fs::write(folder.path().join("rules.yml"), rules["spec"].to_string())?;
    std::fs::write(folder.path().join("prometheus.yml"), CONFIGURATION)?;
    let log = std::fs::File::create(folder.path().join("log"))?;
    let _prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg("--web.listen-address=127.0.0.1:9099")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("prometheus")?;
    let start = Instant::now();
    loop {
        // Debian's Prometheus has no discovery of pods: the annotations become a file, which it reads again.
        std::fs::write(folder.path().join("targets.json"), targets(steps).await?.to_string())?;
        match healthy(steps).await {
            Ok(summary) => {
                println!("{summary} after {:.0} s", start.elapsed().as_secs_f32());
                break;
            }
            Err(error) => {
                let log = std::fs::read_to_string(folder.path().join("log"))?;
                ensure!(start.elapsed() < PATIENCE, "{error:#}\n{log}");
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    steps.account_for(load).await?.check()
}

/// The pods with the annotations that a Prometheus without the operator follows.
async fn targets(steps: &Steps) -> anyhow::Result<Value> {
    let get = "kubectl get pods --field-selector status.phase=Running --namespace voting --output json";
    let list: Value = serde_json::from_str(&steps.shell.run(get).await?)?;
    let pods = list["items"].as_array().context("no list of pods")?;
    let annotated = pods.iter().filter_map(|pod| {
        let annotation =
            |name: &str| pod["metadata"]["annotations"][format!("prometheus.io/{name}")].as_str();
        let (scrape, port, path) = (annotation("scrape")?, annotation("port")?, annotation("path")?);
        let labels = json!({"__metrics_path__": path, "namespace": "voting", "pod": pod["metadata"]["name"]});
        let address = format!("{}:{port}", pod["status"]["podIP"].as_str()?);
        (scrape == "true").then(|| json!({"targets": [address], "labels": labels}))
    });
    Ok(annotated.collect())
}

/// Whether all pods are scraped (Istio also annotates the stores) and all rules are evaluated.
async fn healthy(steps: &Steps) -> anyhow::Result<String> {
    let pods = pods::running(&steps.shell, "voting", "app in (voting-app, voting-analytics, voting-storage)")
        .await?;
    let targets = api("targets?state=active").await?;
    let targets = targets["activeTargets"].as_array().context("no targets")?.clone();
    ensure!(targets.len() == pods.len(), "{} targets, {} pods", targets.len(), pods.len());
    for target in &targets {
        ensure!(target["health"] == "up", "{}: {}", target["scrapeUrl"], target["lastError"]);
    }
    let groups = api("rules").await?;
    let groups = groups["groups"].as_array().context("no rules")?.clone();
    let rules: Vec<_> = groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
    ensure!(!rules.is_empty(), "no rules");
    for rule in &rules {
        ensure!(rule["health"] == "ok", "{}: {} {}", rule["name"], rule["health"], rule["lastError"]);
        ensure!(rule["state"] != "firing", "{} fires", rule["name"]);
    }
    let votes = api("query?query=sum(voting_votes_total)").await?;
    let votes = votes["result"][0]["value"][1].as_str().unwrap_or_default().to_owned();
    ensure!(votes.parse::<f64>().is_ok_and(|votes| votes > 0.0), "no votes in the metrics");
    Ok(format!(
        "{} targets are up, {} rules are healthy, {votes} votes in the metrics",
        targets.len(),
        rules.len()
    ))
}

async fn api(path: &str) -> anyhow::Result<Value> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let text = client.get(format!("http://127.0.0.1:9099/api/v1/{path}")).send().await?.text().await?;
    let answer: Value = serde_json::from_str(&text)?;
    Ok(answer["data"].clone())
}
