//! The autoscaler adds pods under load and removes them afterwards, and no request fails.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;
use voting_tests::load::Load;

use crate::metrics_api;
use crate::steps::Steps;

/// Time limit of each change of the number of pods.
const PATIENCE: Duration = Duration::from_secs(240);
/// Readers of the page at the height of the load.
const READERS: usize = 30;

/// Runs the test in step 2.
pub async fn run(steps: &Steps) -> anyhow::Result<()> {
    steps.to("Step 2").await?;
    let (_server, _folder) = metrics_server(steps).await?;
    // The default waits five minutes before it removes pods.
    let window = "{\"spec\": {\"behavior\": {\"scaleDown\": {\"stabilizationWindowSeconds\": 15}}}}";
    steps
        .shell
        .run(&format!("kubectl patch hpa voting-app-1-0 --namespace voting --patch '{window}'"))
        .await?;
    let load = Load::start(&steps.url().await?, "before")?;
    let at_rest = wait(steps, |pods| pods == 3).await?;
    println!("3 pods at rest ({at_rest:.0} s)");

    load.go_to("scaling out");
    let mut readers = JoinSet::new();
    let (url, is_over) = (steps.url().await?, Arc::new(AtomicBool::new(false)));
    for _ in 0..READERS {
        let (client, url, is_over) =
            (reqwest::Client::builder().no_proxy().build()?, url.clone(), is_over.clone());
        readers.spawn(async move {
            let mut reads = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                client.get(&url).send().await?.error_for_status()?.bytes().await?;
                reads += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(reads)
        });
    }
    let out = wait(steps, |pods| pods > 3).await?;
    // The new pods take part.
    tokio::time::sleep(Duration::from_secs(10)).await;
    is_over.store(true, Ordering::Relaxed);
    let mut reads = 0;
    while let Some(ended) = readers.join_next().await {
        reads += ended?.context("a reader's request failed")?;
    }
    println!("more pods after {out:.0} s of load; {reads} reads, none failed");

    load.go_to("scaling back");
    let back = wait(steps, |pods| pods == 3).await?;
    println!("3 pods again after {back:.0} s without it");
    load.settled().await?;
    let report = steps.account_for(load).await?;
    report.check()
}

/// Starts a metrics server, and waits until it knows the pods.
async fn metrics_server(steps: &Steps) -> anyhow::Result<(tokio::process::Child, TempDir)> {
    let folder = TempDir::new()?;
    let kubeconfig = std::env::var("KUBECONFIG").context("KUBECONFIG")?;
    let log = std::fs::File::create(folder.path().join("log"))?;
    let mut server = Command::new("metrics-server")
        .args(
            ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
                .map(|flag| format!("--{flag}={kubeconfig}")),
        )
        .arg(format!("--cert-dir={}", folder.path().display()))
        .args(["--secure-port=4443", "--kubelet-insecure-tls"])
        .args(["--metric-resolution=10s", "--kubelet-request-timeout=5s"])
        .arg("--kubelet-preferred-address-types=InternalIP")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("metrics-server")?;
    metrics_api::register(&steps.shell).await?;
    let start = Instant::now();
    while steps
        .shell
        .run("kubectl top pods --containers --namespace voting | grep -E ' voting-app +[0-9]'")
        .await
        .is_err()
    {
        let log = std::fs::read_to_string(folder.path().join("log"))?;
        let is_running = server.try_wait()?.is_none();
        ensure!(is_running && start.elapsed() < PATIENCE, "no metrics:\n{log}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok((server, folder))
}

/// Waits until the autoscaler wants such a number of pods, and all of them are ready and no others left; returns the
/// seconds.
async fn wait(steps: &Steps, is: impl Fn(u64) -> bool) -> anyhow::Result<f32> {
    let start = Instant::now();
    let wanted = "kubectl get hpa voting-app-1-0 --namespace voting --output 'jsonpath={.status.desiredReplicas} {.status.currentMetrics[0].containerResource.current.averageUtilization}'";
    let present = "kubectl get deployment voting-app-1-0 --namespace voting --output 'jsonpath={.status.replicas} {.status.readyReplicas}'";
    loop {
        let (wanted, present) = (steps.shell.run(wanted).await?, steps.shell.run(present).await?);
        let numbers =
            |text: &str| text.split_whitespace().map(str::parse::<u64>).collect::<Result<Vec<_>, _>>();
        // Without the second number there is no metric yet, or no pod is ready.
        if let ([pods, _], [all, ready]) = (&numbers(&wanted)?[..], &numbers(&present)?[..])
            && (all, ready) == (pods, pods)
            && is(*pods)
        {
            return Ok(start.elapsed().as_secs_f32());
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "wanted pods and their load: {wanted}; present and ready pods: {present}"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
