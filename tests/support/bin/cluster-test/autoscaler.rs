//! The autoscaler adds pods under load and removes them afterwards, and no request fails.

use std::process::Stdio;
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
    let url = steps.url().await?;
    for _ in 0..READERS {
        let (client, url) = (reqwest::Client::builder().no_proxy().build()?, url.clone());
        readers.spawn(async move {
            let mut failed = 0_u64;
            for read in 0_u64.. {
                let is_good = client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success());
                failed += u64::from(!is_good);
                if failed > 0 {
                    return (read, failed);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (0, failed)
        });
    }
    let out = wait(steps, |pods| pods > 3).await?;
    // The new pods take part.
    steps
        .shell
        .run("kubectl rollout status deployment/voting-app-1-0 --timeout=3m --namespace voting")
        .await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("more pods after {out:.0} s of load");
    while let Some(ended) = readers.try_join_next() {
        let (reads, failed) = ended?;
        ensure!(failed == 0, "a reader's request failed after {reads}");
    }
    readers.shutdown().await;

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
    while steps.shell.run("kubectl top pods --containers --namespace voting | grep voting-app").await.is_err()
    {
        let log = std::fs::read_to_string(folder.path().join("log"))?;
        let is_running = server.try_wait()?.is_none();
        ensure!(is_running && start.elapsed() < PATIENCE, "no metrics:\n{log}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok((server, folder))
}

/// Waits until the autoscaler wants such a number of pods, and returns the seconds.
async fn wait(steps: &Steps, is: impl Fn(u64) -> bool) -> anyhow::Result<f32> {
    let start = Instant::now();
    let get = "kubectl get hpa voting-app-1-0 --namespace voting --output 'jsonpath={.status.desiredReplicas} {.status.currentMetrics[0].containerResource.current.averageUtilization}'";
    loop {
        let status = steps.shell.run(get).await?;
        let mut numbers = status.split_whitespace().map(str::parse::<u64>);
        // Without the second number there is no metric yet.
        if let (Some(Ok(pods)), Some(Ok(_))) = (numbers.next(), numbers.next())
            && is(pods)
        {
            return Ok(start.elapsed().as_secs_f32());
        }
        ensure!(start.elapsed() < PATIENCE, "the autoscaler's pods and load: {status}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
