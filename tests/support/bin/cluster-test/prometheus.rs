//! A Prometheus outside of the mesh scrapes the pods as docs/operations.md describes it, and evaluates the alert rules.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use voting_tests::load::Load;

use crate::monitoring::{Prometheus, api};
use crate::pods;
use crate::steps::Steps;

/// Time limit of the first scrapes and evaluations.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the test in step 3.
pub async fn run(steps: &Steps) -> anyhow::Result<()> {
    steps.to("Step 3").await?;
    let load = Load::start(&steps.url().await?, "scraped")?;
    let prometheus = Prometheus::start()?;
    let start = Instant::now();
    loop {
        prometheus.find_pods(&steps.shell).await?;
        match healthy(steps).await {
            Ok(summary) => {
                println!("{summary} after {:.0} s", start.elapsed().as_secs_f32());
                break;
            }
            Err(error) => {
                ensure!(start.elapsed() < PATIENCE, "{error:#}\n{}", prometheus.log());
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    steps.account_for(load).await?.check()
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
