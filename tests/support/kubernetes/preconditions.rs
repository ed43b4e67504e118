//! What the tutorial needs.

use anyhow::ensure;

use super::Shell;

/// Refuses a cluster on which the tutorial cannot succeed, before anything is changed.
///
/// # Errors
/// There is a namespace `voting` already, or a finding of `k8s/doctor.sh`.
pub async fn preconditions(shell: &Shell) -> anyhow::Result<()> {
    no_voting(shell).await?;
    let printed = shell.run("sh k8s/doctor.sh || [ $? = 1 ]").await?;
    let findings: Vec<_> = printed.lines().filter(|line| line.starts_with("FAIL")).collect();
    ensure!(findings.is_empty(), "the cluster lacks what the tutorial needs:\n{}", findings.join("\n"));
    Ok(())
}

/// Refuses a cluster that has the namespace `voting`.
///
/// # Errors
/// It has, or it does not answer.
pub async fn no_voting(shell: &Shell) -> anyhow::Result<()> {
    let found = shell.run("kubectl get namespace voting --ignore-not-found --output name").await?;
    ensure!(
        found.is_empty(),
        "the cluster has a namespace voting already; delete it, or use another cluster"
    );
    Ok(())
}
