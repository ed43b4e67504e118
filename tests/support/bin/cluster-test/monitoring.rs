//! A Prometheus beside the node's other programs, which scrapes the pods as docs/operations.md describes it, with the alert rules.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use voting_tests::kubernetes::{Shell, repository};
use voting_tests::replace_file;

/// The URL of Prometheus.
pub const URL: &str = "http://127.0.0.1:9099";

const CONFIGURATION: &str = "
global: {scrape_interval: 5s, evaluation_interval: 5s}
rule_files: [rules.yml]
scrape_configs: [{job_name: pods, file_sd_configs: [{files: [targets.json]}]}]
";

/// A running Prometheus; its end ends the process.
pub struct Prometheus {
    folder: TempDir,
    _process: Child,
}

/// Keeps the targets up to date until it is dropped.
pub struct Discovery(JoinHandle<()>);

impl Drop for Discovery {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Prometheus {
    /// Starts Prometheus without targets.
    pub fn start() -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let path = |name: &str| folder.path().join(name);
        // The rules are those of the resource for the operator.
        let rules = std::fs::read_to_string(repository().join("monitoring/rules.yaml"))?;
        let rules: Value = serde_yaml_ng::from_str(&rules)?;
        std::fs::write(path("rules.yml"), rules["spec"].to_string())?;
        std::fs::write(path("prometheus.yml"), CONFIGURATION)?;
        let log = std::fs::File::create(path("log"))?;
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", path("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", path("data").display()))
            .arg(format!("--web.listen-address={}", URL.trim_start_matches("http://")))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("prometheus")?;
        Ok(Self { folder, _process: process })
    }

    /// Scrapes the pods that run now. Debian's Prometheus has no discovery of pods: the annotations become a file, which it reads
    /// again.
    pub async fn find_pods(&self, shell: &Shell) -> anyhow::Result<()> {
        write_targets(self.folder.path(), &targets(shell).await?);
        Ok(())
    }

    /// [`Prometheus::find_pods`] every two seconds.
    pub async fn keep_finding_pods(&self) -> anyhow::Result<Discovery> {
        let (shell, folder) = (Shell::new(None).await?, self.folder.path().to_owned());
        Ok(Discovery(tokio::spawn(async move {
            loop {
                // The API server may be busy; the next attempt is soon.
                if let Ok(targets) = targets(&shell).await {
                    write_targets(&folder, &targets);
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        })))
    }

    /// What Prometheus has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn write_targets(folder: &Path, targets: &Value) {
    replace_file(&folder.join("targets.json"), &targets.to_string());
}

/// The pods with the annotations that a Prometheus without the operator follows.
async fn targets(shell: &Shell) -> anyhow::Result<Value> {
    let get = "kubectl get pods --field-selector status.phase=Running --namespace voting --output json";
    let list: Value = serde_json::from_str(&shell.run(get).await?)?;
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

/// The data of an answer of the API.
pub async fn api(path: &str) -> anyhow::Result<Value> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let text = client.get(format!("{URL}/api/v1/{path}")).send().await?.text().await?;
    let answer: Value = serde_json::from_str(&text)?;
    Ok(answer["data"].clone())
}
