//! `docker compose up` as a temporary project with its own names and port.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::free_port;
use crate::watchdog::Watchdog;

/// Time limit of a compose command. The start of MySQL on an empty volume takes the longest.
const LIMIT: Duration = Duration::from_secs(240);

#[derive(Debug)]
pub struct Compose {
    project: String,
    port: u16,
    step: String,
    /// Removes everything if the test is aborted.
    _watchdog: Watchdog,
}

impl Compose {
    /// A project without containers.
    pub fn new() -> Self {
        let project = format!("voting-test-{}", std::process::id());
        let remove = [
            format!(
                "docker ps -aq --filter label=com.docker.compose.project={project} | xargs -r docker rm -f"
            ),
            format!(
                "docker volume ls -q --filter label=com.docker.compose.project={project} | xargs -r docker volume rm"
            ),
            format!(
                "docker network ls -q --filter label=com.docker.compose.project={project} | xargs -r docker network rm"
            ),
        ];
        let _watchdog = Watchdog::new(&remove.join("; "));
        Self { project, port: free_port(), step: String::new(), _watchdog }
    }

    /// URL of the gateway without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Switches to a step of the tutorial and waits until its services are healthy.
    ///
    /// # Errors
    /// A service does not become healthy.
    pub async fn go_to(&mut self, step: &str) -> anyhow::Result<()> {
        self.step = step.to_owned();
        self.compose(&["up", "--detach", "--wait", "--wait-timeout", "180"]).await.map(drop)
    }

    /// Runs `docker compose` and returns the output.
    ///
    /// # Errors
    /// The command fails or times out.
    pub async fn compose(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("docker");
        command.args(["compose", "--progress", "plain"]).args(arguments);
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        command.env("COMPOSE_PROJECT_NAME", &self.project).env("GATEWAY_PORT", self.port.to_string());
        command.env("STEP", &self.step);
        output(command).await
    }

    /// Runs `docker` and returns the output.
    ///
    /// # Errors
    /// The command fails or times out.
    pub async fn docker(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("docker");
        command.args(arguments);
        output(command).await
    }

    /// The services with a running container.
    ///
    /// # Errors
    /// As [`Compose::compose`].
    pub async fn running(&self) -> anyhow::Result<Vec<String>> {
        let services = self.compose(&["ps", "--services", "--status", "running"]).await?;
        let mut services: Vec<_> = services.lines().map(ToOwned::to_owned).collect();
        services.sort();
        Ok(services)
    }

    /// The containers, volumes and networks of the project.
    ///
    /// # Errors
    /// As [`Compose::docker`].
    pub async fn left(&self) -> anyhow::Result<String> {
        let filter = format!("label=com.docker.compose.project={}", self.project);
        let mut left = String::new();
        for list in [["ps", "--all"], ["volume", "ls"], ["network", "ls"]] {
            left += &self.docker(&[list[0], list[1], "--quiet", "--filter", &filter]).await?;
        }
        Ok(left)
    }
}

impl Default for Compose {
    fn default() -> Self {
        Self::new()
    }
}

async fn output(mut command: Command) -> anyhow::Result<String> {
    let shown = format!("{:?}", command.as_std().get_args().collect::<Vec<_>>().join(" ".as_ref()));
    command.kill_on_drop(true).stdin(Stdio::null());
    let output = tokio::time::timeout(LIMIT, command.output())
        .await
        .with_context(|| format!("docker {shown} takes over {} s", LIMIT.as_secs()))??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("docker {shown}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    }
    Ok(text(&output.stdout))
}
