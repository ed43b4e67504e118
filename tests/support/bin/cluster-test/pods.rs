//! Pods, and commands in their network on this node.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::process::Command;
use voting_tests::kubernetes::Shell;

/// A running pod.
#[derive(Clone, Debug)]
pub struct Pod {
    pub name: String,
    pub ip: String,
    uid: String,
    /// The ids of its containers by name, sidecars included.
    containers: Vec<(String, String)>,
    restarts: u64,
}

/// The running pods of a namespace with these labels, without those that are about to end. Those that were restarted least come
/// first: the next restart would take longer.
pub async fn running(shell: &Shell, namespace: &str, selector: &str) -> anyhow::Result<Vec<Pod>> {
    let get = "kubectl get pods --field-selector status.phase=Running --output json";
    let printed = shell.run(&format!("{get} --namespace {namespace} --selector '{selector}'")).await?;
    let list: Value = serde_json::from_str(&printed)?;
    let items = list["items"].as_array().context("no list of pods")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pods = items.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).map(|pod| {
        let status = &pod["status"];
        let statuses = ["containerStatuses", "initContainerStatuses"].map(|kind| status[kind].as_array());
        let statuses = statuses.into_iter().flatten().flatten();
        let restarts = statuses.clone().filter_map(|status| status["restartCount"].as_u64());
        let containers = statuses.map(|status| {
            let id = text(&status["containerID"]);
            (text(&status["name"]), id.rsplit('/').next().unwrap_or_default().to_owned())
        });
        Pod {
            name: text(&pod["metadata"]["name"]),
            ip: text(&status["podIP"]),
            uid: text(&pod["metadata"]["uid"]),
            containers: containers.collect(),
            restarts: restarts.sum(),
        }
    });
    let mut pods: Vec<_> = pods.collect();
    pods.sort_by_key(|pod| pod.restarts);
    Ok(pods)
}

/// One of [`running`].
pub async fn one(shell: &Shell, namespace: &str, selector: &str) -> anyhow::Result<Pod> {
    let pods = running(shell, namespace, selector).await?;
    pods.into_iter().next().with_context(|| format!("no pod {selector} runs in {namespace}"))
}

impl Pod {
    /// The processes of a container.
    pub fn processes(&self, container: &str) -> anyhow::Result<Vec<u32>> {
        let (_, id) =
            self.containers.iter().find(|(name, _)| name == container).context(container.to_owned())?;
        Ok(processes_in(&format!("/{id}")))
    }

    /// Kills the processes of a container.
    pub async fn kill(&self, container: &str) -> anyhow::Result<()> {
        let processes = self.processes(container)?;
        if processes.is_empty() {
            bail!("{} has no process in {container}", self.name);
        }
        let mut kill = Command::new("kill");
        kill.arg("-KILL").args(processes.iter().map(ToString::to_string));
        // Children may have ended with their parent.
        kill.stderr(Stdio::null()).status().await?;
        Ok(())
    }

    /// Runs a script in the network of the pod, whose sidecar, if any, has its traffic. Returns the output, or `None` after
    /// a few seconds.
    pub async fn run(&self, script: &str) -> anyhow::Result<Option<String>> {
        let process = processes_in(&format!("/pod{}/", self.uid));
        let process = process.first().with_context(|| format!("{} has no process", self.name))?;
        let mut command = Command::new("nsenter");
        command.args(["--target", &process.to_string(), "--net", "bash", "-c", script]);
        command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        match tokio::time::timeout(Duration::from_secs(5), command.output()).await {
            Ok(output) => Ok(Some(String::from_utf8_lossy(&output?.stdout).into_owned())),
            Err(_) => Ok(None),
        }
    }
}

/// The processes whose cgroup contains this part.
fn processes_in(part: &str) -> Vec<u32> {
    let number = |path: PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| number(entry.path()));
    let is_in = |process: &u32| {
        let groups = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("cgroup"));
        groups.is_ok_and(|groups| {
            groups
                .lines()
                .any(|group| format!("{group}/").contains(&format!("{}/", part.trim_end_matches('/'))))
        })
    };
    numbers.filter(is_in).collect()
}
