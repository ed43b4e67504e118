//! What the tutorial needs.

use anyhow::{bail, ensure};
use serde_json::Value;

use super::Shell;

/// Refuses a cluster on which the tutorial cannot succeed, before anything is changed.
///
/// # Errors
/// What is missing, in one line.
pub async fn preconditions(shell: &Shell) -> anyhow::Result<()> {
    for program in ["kubectl", "istioctl", "curl", "openssl"] {
        ensure!(shell.run(&format!("command -v {program}")).await.is_ok(), "{program} is not on the PATH");
    }
    let json = async |command: &str| -> anyhow::Result<Value> {
        let Ok(printed) = shell.run(&format!("kubectl {command} --output json")).await else {
            bail!("no cluster answers; see the error of `kubectl {command}`")
        };
        Ok(if printed.is_empty() { Value::Null } else { serde_json::from_str(&printed)? })
    };
    Facts {
        version: json("version").await?,
        namespace: json("get namespace voting --ignore-not-found").await?,
        istiod: json("get deployments --all-namespaces --selector app=istiod").await?,
        cni: json("get daemonsets --all-namespaces --selector k8s-app=istio-cni-node").await?,
        classes: json("get storageclasses").await?,
        gateway: json("get service istio-ingressgateway --namespace istio-system --ignore-not-found").await?,
    }
    .check()
}

/// What kubectl says about a cluster.
#[derive(Clone)]
struct Facts {
    version: Value,
    namespace: Value,
    istiod: Value,
    cni: Value,
    classes: Value,
    gateway: Value,
}

impl Facts {
    fn check(&self) -> anyhow::Result<()> {
        let server = self.version["serverVersion"]["gitVersion"].as_str().unwrap_or_default();
        ensure!(
            minor(server).is_some_and(|minor| minor >= (1, 30)),
            "the cluster has Kubernetes {server}; allowed: 1.30 or later"
        );
        ensure!(
            self.namespace.is_null(),
            "the cluster has a namespace voting already; delete it, or use another cluster"
        );
        let istiod = &self.istiod["items"][0];
        ensure!(
            istiod.is_object(),
            "the cluster has no Istio; see \"Prepare a cluster\" in docs/tutorial.md"
        );
        let image = istiod["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        let tag = image.rsplit(':').next().unwrap_or_default();
        ensure!(
            minor(tag).is_none_or(|minor| minor >= (1, 28)),
            "the cluster has Istio {tag}; allowed: 1.28 or later"
        );
        ensure!(
            self.cni["items"][0].is_object(),
            "Istio has no CNI plugin; install it with components.cni.enabled=true"
        );
        let default = "storageclass.kubernetes.io/is-default-class";
        let is_default = |class: &Value| class["metadata"]["annotations"][default] == "true";
        ensure!(
            self.classes["items"].as_array().is_some_and(|classes| classes.iter().any(is_default)),
            "the cluster has no default storage class"
        );
        ensure!(self.gateway.is_object(), "Istio has no ingress gateway");
        let address = &self.gateway["status"]["loadBalancer"]["ingress"][0];
        ensure!(
            address["ip"].is_string() || address["hostname"].is_string(),
            "the cluster has no load balancer: the service istio-ingressgateway has no address"
        );
        Ok(())
    }
}

/// Parses `v1.36.1` or `1.31.0` as far as the minor version.
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn istiod(image: &str) -> Value {
        json!({"items": [{"spec": {"template": {"spec": {"containers": [{"image": image}]}}}}]})
    }

    fn good() -> Facts {
        let default = json!({"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}});
        Facts {
            version: json!({"serverVersion": {"gitVersion": "v1.30.0-eks-1"}}),
            namespace: Value::Null,
            istiod: istiod("docker.io/istio/pilot:1.28.3-distroless"),
            cni: json!({"items": [{}]}),
            classes: json!({"items": [{"metadata": {}}, {"metadata": default}]}),
            gateway: json!({"status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}}),
        }
    }

    #[test]
    fn a_cluster_that_has_everything_is_accepted() {
        good().check().expect("a good cluster");
    }

    #[test]
    fn a_cluster_that_lacks_something_is_refused_in_one_line_that_names_it() {
        let without = |change: fn(&mut Facts)| {
            let mut facts = good();
            change(&mut facts);
            facts
        };
        for (facts, part) in [
            (
                without(|it| it.version["serverVersion"]["gitVersion"] = json!("v1.29.9")),
                "Kubernetes v1.29.9",
            ),
            (without(|it| it.version = Value::Null), "Kubernetes"),
            (without(|it| it.namespace = json!({})), "a namespace voting already"),
            (without(|it| it.istiod = json!({"items": []})), "no Istio"),
            (without(|it| it.istiod = istiod("pilot:1.27.0")), "Istio 1.27.0"),
            (without(|it| it.cni = json!({"items": []})), "no CNI plugin"),
            (without(|it| it.classes = json!({"items": [{"metadata": {}}]})), "no default storage class"),
            (without(|it| it.gateway = Value::Null), "no ingress gateway"),
            (without(|it| it.gateway["status"]["loadBalancer"] = json!({})), "no load balancer"),
        ] {
            let error = facts.check().expect_err(part).to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }
}
