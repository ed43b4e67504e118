//! `k8s/doctor.sh` on a cluster that has what the tutorial needs, and with each fault that it looks for.

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use voting_tests::kubernetes::Shell;

use crate::steps::Steps;

/// Faults that are caused together, because no finding hides another.
struct Faults {
    name: &'static str,
    /// Bash, in a folder with `k8s` and `istio` to change.
    cause: &'static str,
    /// The script and its arguments, if they differ.
    doctor: &'static str,
    /// A part of each finding that names the fault.
    findings: &'static [&'static str],
    /// Bash; empty: the commands of the findings, as printed.
    repair: &'static str,
}

const DOCTOR: &str = "sh k8s/doctor.sh";

const FAULTS: &[Faults] = &[
    Faults {
        name: "the AKS add-on, by its names, without a pod",
        cause: "kubectl create namespace aks-istio-system
            kubectl create deployment istiod-asm-1-29 --image=pilot:v1.29.2-distroless --replicas=0 --namespace aks-istio-system
            kubectl label deployment istiod-asm-1-29 app=istiod istio.io/rev=asm-1-29 --overwrite --namespace aks-istio-system
            sed -i 's/istio: ingressgateway/istio: aks-istio-ingressgateway-external/' istio/step-1-create-voting-app-gateway.yaml",
        doctor: DOCTOR,
        findings: &[
            "istiod is scaled to zero (the AKS add-on, revision asm-1-29)",
            "az aks mesh enable-ingress-gateway",
            "there is no service aks-istio-ingressgateway-external in aks-istio-ingress",
            // The label that the tutorial sets on AKS.
            "no sidecar is injected into a pod of a namespace with istio.io/rev:asm-1-29; revisions of the cluster: asm-1-29 default",
        ],
        repair: "kubectl delete namespace aks-istio-system",
    },
    Faults {
        name: "another revision, no default storage class, no pod of the gateway",
        cause: "kubectl create namespace voting
            kubectl label namespace voting istio.io/rev=asm-1-0
            kubectl annotate storageclass folder storageclass.kubernetes.io/is-default-class-
            kubectl scale deployment istio-ingressgateway --replicas=0 --namespace istio-system
            kubectl wait pod --for=delete --selector istio=ingressgateway --namespace istio-system --timeout=2m",
        doctor: DOCTOR,
        findings: &[
            "no pod in istio-system has the label istio=ingressgateway",
            "there is no default storage class",
            "no sidecar is injected into a pod of a namespace with istio.io/rev:asm-1-0; revisions of the cluster: default",
        ],
        repair: "",
    },
    Faults {
        name: "the namespace of another run",
        cause: "kubectl create namespace voting-doctor",
        doctor: DOCTOR,
        findings: &["the namespace voting-doctor exists"],
        repair: "",
    },
    Faults {
        name: "old and foreign control planes, no address, the server of an API is away",
        cause: r#"kubectl create namespace istio-old
            for place in istio-system istio-old; do
              kubectl create deployment istiod-old --image=pilot:1.27.1 --replicas=0 --namespace $place
              kubectl label deployment istiod-old app=istiod istio.io/rev=old --overwrite --namespace $place
            done
            kubectl apply --filename - <<'END'
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.away.example}
spec:
  group: away.example
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  service: {name: away, namespace: istio-old}
END
            kubectl wait apiservice/v1beta1.away.example --for=condition=available=false --timeout=1m
            pgrep --exact kube-router >stopped
            kill -STOP $(cat stopped)
            kubectl patch service istio-ingressgateway --namespace istio-system --subresource=status --type merge \
              --patch '{"status": {"loadBalancer": {"ingress": null}}}'"#,
        doctor: DOCTOR,
        findings: &[
            "istiod is in the namespace istio-old",
            "Istio is version 1.27.1",
            "istiod is scaled to zero (Istio of your own, revision old)",
            "the service istio-ingressgateway in istio-system has no address",
            "its server does not answer (v1beta1.away.example)",
        ],
        repair: "kill -CONT $(cat stopped)
            kubectl delete apiservice v1beta1.away.example
            kubectl delete deployment istiod-old --namespace istio-system
            kubectl delete namespace istio-old
            kubectl wait '--for=jsonpath={.status.loadBalancer.ingress}' service/istio-ingressgateway --namespace istio-system",
    },
    Faults {
        name: "no pod of istiod, no DNS",
        cause: "kubectl scale deployment istiod --replicas=0 --namespace istio-system
            kubectl scale deployment dns --replicas=0 --namespace kube-system
            kubectl wait pod --for=delete --selector app=istiod --namespace istio-system --timeout=2m
            kubectl wait pod --for=delete --selector k8s-app=kube-dns --namespace kube-system --timeout=2m",
        doctor: DOCTOR,
        findings: &[
            "istiod is scaled to zero (Istio of your own, revision default)",
            "the webhook that injects sidecars fails",
            "the cluster's DNS, kube-dns in kube-system, has no ready pod",
        ],
        repair: "",
    },
    Faults {
        name: "manifests for another cluster, a namespace without Istio's label",
        cause: "kubectl label namespace voting istio-injection-
            sed -i 's#image: voting-app:1.0#image: registry.invalid/voting-app:1.0#
              s/kubernetes.io.metadata.name: kube-system/kubernetes.io.metadata.name: dns/
              s/  accessModes: .*/&\\n  storageClassName: premium/' k8s/step-1-create-voting-app.yaml
            sed -i 's/istio: ingressgateway/istio: aks-istio-ingressgateway-external/' istio/step-1-create-voting-app-gateway.yaml",
        doctor: DOCTOR,
        findings: &[
            "no pod in aks-istio-ingress has the label istio=aks-istio-ingressgateway-external",
            "there is no service aks-istio-ingressgateway-external in aks-istio-ingress",
            "there is no storage class premium",
            "no sidecar is injected into a pod of a namespace with no label of Istio",
            "the image registry.invalid/voting-app:1.0 cannot be pulled",
            "the default deny cuts pods off from the name server 10.96.0.10 (kube-dns in kube-system)",
        ],
        repair: "kubectl label namespace voting istio-injection=enabled",
    },
    Faults {
        name: "an init container instead of CNI",
        cause: r#"kubectl get configmap istio-sidecar-injector --namespace istio-system --output json >injector
            sed 's/\(\\"cni\\": {\\n *\\"enabled\\": \)true/\1false/' injector | kubectl replace --filename -
            until kubectl run probe --image=redis:8 --namespace voting --dry-run=server --output yaml | grep istio-init; do sleep 1; done"#,
        doctor: DOCTOR,
        findings: &[
            "Istio's CNI plugin is not in use",
        ],
        repair: r#"kubectl get configmap istio-sidecar-injector --namespace istio-system --output json |
              sed 's/\(\\"cni\\": {\\n *\\"enabled\\": \)false/\1true/' | kubectl replace --filename -
            while kubectl run probe --image=redis:8 --namespace voting --dry-run=server --output yaml | grep istio-init; do sleep 1; done"#,
    },
    Faults {
        name: "no CNI plugin on the node, nothing that enforces NetworkPolicies or creates volumes, immediate binding",
        cause: r#"kubectl annotate storageclass folder storageclass.kubernetes.io/is-default-class-
            kubectl apply --filename - <<'END'
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: immediate, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: voting/folder
END
            kubectl patch daemonset istio-cni-node --namespace istio-system \
              --patch '{"spec": {"template": {"spec": {"nodeSelector": {"none": "none"}}}}}'
            kubectl wait pod --for=delete --selector k8s-app=istio-cni-node --namespace istio-system --timeout=2m
            pgrep --exact 'kube-router|volumes' >stopped
            kill -STOP $(cat stopped)"#,
        doctor: "sh k8s/doctor.sh --timeout 120",
        findings: &[
            "the storage class immediate creates a volume before its pod has a node (binding mode Immediate)",
            "nothing enforces NetworkPolicies",
            "Istio's CNI plugin does not redirect the traffic of pods on the node node",
            "no volume of the storage class immediate within 120 s",
        ],
        repair: r#"kill -CONT $(cat stopped)
            kubectl delete storageclass immediate
            kubectl annotate storageclass folder storageclass.kubernetes.io/is-default-class=true --overwrite
            kubectl patch daemonset istio-cni-node --namespace istio-system --type json \
              --patch '[{"op": "remove", "path": "/spec/template/spec/nodeSelector/none"}]'
            kubectl rollout status daemonset istio-cni-node --namespace istio-system --timeout=5m"#,
    },
    Faults {
        name: "a user without permissions",
        cause: "kubectl create serviceaccount reader --namespace default
            kubectl config view --raw --flatten >reader
            export KUBECONFIG=$PWD/reader
            kubectl config set-credentials reader --token=$(kubectl create token reader --namespace default)
            kubectl config set-context reader --user=reader --cluster=$(kubectl config view --minify --output 'jsonpath={.clusters[0].name}')",
        doctor: "KUBECONFIG=$PWD/reader sh k8s/doctor.sh --context reader",
        findings: &["you (system:serviceaccount:default:reader) may not create,delete,get,list,patch,watch some of"],
        repair: "",
    },
    Faults {
        name: "the same user with the role of the finding",
        cause: ":",
        doctor: "KUBECONFIG=$PWD/reader sh k8s/doctor.sh --context reader",
        findings: &[],
        repair: "kubectl delete clusterrole,clusterrolebinding voting-tutorial
            kubectl delete serviceaccount reader --namespace default",
    },
];

/// What is said about a good cluster, in this order.
const CHECKS: &[&str] = &[
    "ok    Kubernetes v1.36.1, kubectl v1.36.1",
    "ok    you may do everything that the tutorial does",
    "ok    Istio 1.31.0, Istio of your own, revision default",
    "ok    gateway with the label istio=ingressgateway in istio-system",
    "ok    address of the gateway: 198.51.100.",
    "ok    storage class folder",
    "note  the cluster has no metrics API",
    "ok    sidecars are injected (labels istio-injection:enabled)",
    "ok    all 8 images can be pulled",
    "ok    DNS under the default deny (name server 10.96.0.10)",
    "ok    NetworkPolicies are enforced",
    "ok    a pod with a sidecar starts under the default deny",
    "ok    a volume of the storage class folder",
];

/// True of this cluster.
const NO_METRICS: &str = "the cluster has no metrics API: the autoscalers keep three pods";

/// What stands between a finding and the command that repairs it.
const FIX: &str = "; to fix it: ";

/// The same, for what the tutorial works without.
const CHANGE: &str = "; to change it: ";

/// Runs the test.
pub async fn run(steps: &Steps) -> anyhow::Result<()> {
    let test = Test { shell: &steps.shell, folder: TempDir::new()? };
    test.good_cluster().await.context("a good cluster")?;
    test.no_cluster().await.context("no cluster")?;
    test.terminated().await.context("a run that is terminated")?;
    for faults in FAULTS {
        println!("{}", faults.name);
        test.faults(faults).await.context(faults.name)?;
    }
    Ok(())
}

struct Test<'a> {
    shell: &'a Shell,
    folder: TempDir,
}

impl Test<'_> {
    /// Runs a script in a folder with the manifests as they are in the repository.
    async fn run(&self, script: &str) -> anyhow::Result<String> {
        let folder = self.folder.path().display();
        self.shell.run(&format!("cp -r k8s istio {folder} && cd {folder} && (set -e\n{script}\n)")).await
    }

    /// Causes a fault, runs the doctor, and returns its lines and its exit code.
    async fn doctor(&self, cause: &str, doctor: &str) -> anyhow::Result<(Vec<String>, i32)> {
        let script = format!("({cause}\n) >&2\n{doctor} 2>&1 && code=0 || code=$?\necho $code");
        let printed = self.run(&script).await?;
        let mut lines: Vec<_> = printed.lines().map(str::to_owned).collect();
        let code = lines.pop().context("no exit code")?.parse()?;
        for line in &lines {
            let is_known = ["ok    ", "note  ", "FAIL  ", "skip  "].iter().any(|kind| line.starts_with(kind));
            ensure!(is_known, "a line of another kind:\n{printed}");
        }
        Ok((lines, code))
    }

    async fn good_cluster(&self) -> anyhow::Result<()> {
        let (lines, code) = self.doctor(":", DOCTOR).await?;
        let as_expected = lines.len() == CHECKS.len()
            && lines.iter().zip(CHECKS).all(|(line, check)| line.starts_with(check));
        ensure!(as_expected && code == 0, "exit code {code}:\n{}", lines.join("\n"));
        println!("a good cluster:\n{}", lines.join("\n"));
        // Nothing is left. The volume's deletion follows that of its claim.
        self.run("! kubectl get namespace voting-doctor && kubectl wait persistentvolume --all --for=delete --timeout=2m")
            .await
            .map(drop)
    }

    async fn no_cluster(&self) -> anyhow::Result<()> {
        let (lines, code) = self.doctor(":", "KUBECONFIG=/dev/null sh k8s/doctor.sh").await?;
        let is_said = lines.len() == 1 && lines[0].starts_with("FAIL  no cluster answers (");
        ensure!(is_said && code == 1, "exit code {code}:\n{}", lines.join("\n"));
        let printed = self.run("sh k8s/doctor.sh --context missing 2>&1 && exit 1 || echo $?").await?;
        ensure!(
            printed.contains("has no context missing; it has: ") && printed.ends_with("\n2\n"),
            "{printed}"
        );
        Ok(())
    }

    async fn terminated(&self) -> anyhow::Result<()> {
        let script = "setsid sh k8s/doctor.sh >printed & doctor=$!
            until kubectl get pod friend --namespace voting-doctor; do kill -0 $doctor; sleep 0.2; done
            kill -TERM -- -$doctor
            wait $doctor && code=0 || code=$?
            [ $code = 143 ] && ! kubectl get namespace voting-doctor";
        self.run(script).await.map(drop)
    }

    async fn faults(&self, faults: &Faults) -> anyhow::Result<()> {
        let found = self.findings(faults).await;
        let repair = match &found {
            Ok(commands) if faults.repair.is_empty() => commands.join("\n"),
            _ => faults.repair.to_owned(),
        };
        self.run(&repair).await.with_context(|| repair.clone())?;
        let wait = "kubectl wait deployment --all --for=condition=available --timeout=5m --namespace";
        self.run(&format!("{wait} istio-system\n{wait} kube-system")).await?;
        found.map(drop)
    }

    /// Checks the findings, and returns their commands.
    async fn findings(&self, faults: &Faults) -> anyhow::Result<Vec<String>> {
        let (lines, code) = self.doctor(faults.cause, faults.doctor).await?;
        let is_finding = |line: &&String| line.starts_with("FAIL") || line.starts_with("note");
        let found: Vec<_> =
            lines.iter().filter(is_finding).filter(|line| !line.contains(NO_METRICS)).collect();
        let as_expected = found.len() == faults.findings.len()
            && found.iter().zip(faults.findings).all(|(line, part)| line.contains(part));
        let is_code = code == i32::from(lines.iter().any(|line| line.starts_with("FAIL")));
        ensure!(as_expected && is_code, "exit code {code}:\n{}", lines.join("\n"));
        for line in &found {
            println!("  {line}");
        }
        let commands = found.iter().map(|line| {
            let fix = line.split_once(FIX).or_else(|| line.split_once(CHANGE));
            let (_, fix) = fix.with_context(|| format!("no command: {line}"))?;
            // Alternatives and explanations follow.
            Ok(fix.split(", ").next().unwrap_or_default().to_owned())
        });
        commands.collect()
    }
}
