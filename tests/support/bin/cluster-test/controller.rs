//! A controller for progressive delivery beside the node's other programs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use voting_tests::kubernetes::Shell;

/// Time limit of everything that a controller does, which a busy machine makes slow.
pub const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// A running controller; its end ends the process.
pub struct Controller {
    name: &'static str,
    process: Child,
    folder: TempDir,
}

impl Controller {
    /// Applies the definitions of its resources in this file or folder, and starts it with the rights of an administrator.
    pub async fn start(
        shell: &Shell,
        definitions: &Path,
        name: &'static str,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        // As in the modules of Go, a folder has a kustomization.
        let kind = if definitions.is_dir() { "--kustomize" } else { "--filename" };
        shell.run(&format!("kubectl apply --server-side {kind} {}", definitions.display())).await?;
        let kubeconfig = std::env::var("KUBECONFIG").context("KUBECONFIG")?;
        let folder = TempDir::new()?;
        let log = File::create(folder.path().join("log"))?;
        let process = Command::new(name)
            .arg(format!("--kubeconfig={kubeconfig}"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context(name)?;
        Ok(Self { name, process, folder })
    }

    /// Waits until the resource (`rollout/voting-app`) is so.
    pub async fn wait<T>(
        &mut self,
        shell: &Shell,
        resource: &str,
        what: &str,
        is: impl Fn(&Value) -> Option<T>,
    ) -> anyhow::Result<T> {
        let start = Instant::now();
        loop {
            let now = object(shell, resource).await?;
            if let Some(value) = is(&now) {
                return Ok(value);
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("{} ended ({status}):\n{}", self.name, self.log());
            }
            ensure!(
                start.elapsed() < PATIENCE,
                "{resource} is not so: {what}; its status: {:#}\n{}",
                now["status"],
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// The last lines of its log.
    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// A resource in the namespace of the voting app.
pub async fn object(shell: &Shell, resource: &str) -> anyhow::Result<Value> {
    let text = shell.run(&format!("kubectl get {resource} --namespace voting --output json")).await?;
    serde_json::from_str(&text).with_context(|| text)
}

/// Removes the definitions of the controllers' resources, and thereby all of these.
pub async fn remove_definitions(shell: &Shell) -> anyhow::Result<()> {
    let list = "kubectl get customresourcedefinitions --output name";
    let delete = "xargs --no-run-if-empty kubectl delete --timeout=5m";
    shell.run(&format!("{list} | grep -E '\\.(argoproj\\.io|flagger\\.app)$' | {delete}")).await.map(drop)
}

/// A copy of a folder of manifests with the settings of the test.
pub fn copy(from: &Path, replacements: &[(&str, &str)]) -> anyhow::Result<(TempDir, PathBuf)> {
    let folder = TempDir::new()?;
    let mut unused: Vec<_> = replacements.iter().map(|(old, _)| *old).collect();
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let path = entry?.path();
        let mut text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for (old, new) in replacements {
            if text.contains(old) {
                unused.retain(|one| one != old);
                text = text.replace(old, new);
            }
        }
        std::fs::write(folder.path().join(path.file_name().context("a name")?), text)?;
    }
    ensure!(unused.is_empty(), "{} has no {unused:?}", from.display());
    let path = folder.path().to_owned();
    Ok((folder, path))
}
