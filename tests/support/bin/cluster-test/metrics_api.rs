//! The API of a metrics server that runs beside the node's other programs.

use voting_tests::kubernetes::Shell;

const API: &str = "
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: metrics-server, namespace: kube-system}
---
apiVersion: v1
kind: Service
metadata: {name: metrics-server, namespace: kube-system}
spec:
  ports: [{port: 443, targetPort: 4443}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: metrics-server, namespace: kube-system, labels: {kubernetes.io/service-name: metrics-server}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.1]}]
ports: [{port: 4443}]
";

/// Registers the API.
pub async fn register(shell: &Shell) -> anyhow::Result<()> {
    kubectl(shell, "apply").await
}

/// Removes the API, if it is registered. The API server deletes no namespace while the server of a registered API is away.
pub async fn remove(shell: &Shell) -> anyhow::Result<()> {
    kubectl(shell, "delete --ignore-not-found").await
}

async fn kubectl(shell: &Shell, command: &str) -> anyhow::Result<()> {
    shell.run(&format!("kubectl {command} --filename - <<'END'\n{API}\nEND")).await.map(drop)
}
