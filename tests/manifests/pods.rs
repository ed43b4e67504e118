//! Security, resources, probes and references of every pod.

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use serde_json::{Value, json};

use crate::load;
use crate::parse::{Document, labels};
use crate::routing::all_that_is_ever_applied;
use crate::steps::applied;

struct Workload {
    document: Document,
    pod: Value,
    container: Value,
}

impl Workload {
    fn is_job(&self) -> bool {
        self.document.key.starts_with("job.")
    }

    fn is_store(&self) -> bool {
        self.container["name"] == "redis" || self.container["name"] == "mysql"
    }

    fn key(&self) -> &str {
        &self.document.key
    }

    fn environment(&self) -> Vec<&Value> {
        self.container["env"].as_array().into_iter().flatten().collect()
    }
}

fn workloads() -> Vec<Workload> {
    let all: Vec<Workload> = all_that_is_ever_applied()
        .into_values()
        .chain(load::resources().into_values())
        .filter(|document| document.key.starts_with("deployment.") || document.key.starts_with("job."))
        .map(|document| {
            let pod = document.at("/spec/template/spec").expect("a pod").clone();
            assert_eq!(pod["containers"].as_array().map(Vec::len), Some(1), "{}", document.key);
            let container = pod["containers"][0].clone();
            Workload { document, pod, container }
        })
        .collect();
    assert_eq!(all.len(), 10, "seven deployments and three jobs");
    all
}

#[test]
fn pods_are_restricted() {
    for workload in workloads() {
        let (pod, container) = (&workload.pod["securityContext"], &workload.container["securityContext"]);
        assert_eq!(pod["runAsNonRoot"], true, "{}", workload.key());
        // 1337 is the user of the sidecar, whose traffic is not redirected.
        let user = if workload.is_store() { 999 } else { 65532 };
        assert_eq!(
            (&pod["runAsUser"], &pod["runAsGroup"]),
            (&json!(user), &json!(user)),
            "{}",
            workload.key()
        );
        assert_eq!(pod["seccompProfile"], json!({"type": "RuntimeDefault"}), "{}", workload.key());
        let expected = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(*container, expected, "{}", workload.key());
    }
}

#[test]
fn pods_have_limits_and_shut_down_gracefully() {
    for workload in workloads() {
        let resources = &workload.container["resources"];
        for resource in ["cpu", "memory"] {
            for bound in ["requests", "limits"] {
                assert!(
                    resources[bound][resource].is_string(),
                    "{}: no {bound} of {resource}",
                    workload.key()
                );
            }
        }
        // Services need at most 3 seconds before the drain and 10 seconds for it; stores flush their data.
        let grace = workload.pod["terminationGracePeriodSeconds"].as_u64().unwrap_or_default();
        let least = if workload.is_store() { 60 } else { 20 };
        assert!(grace >= least, "{}: a grace period of {grace} s", workload.key());
    }
}

#[test]
fn pods_are_probed_on_the_admin_port_and_stores_from_inside() {
    // Jobs have no probes.
    for workload in workloads().iter().filter(|workload| !workload.is_job()) {
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let probe = &workload.container[probe];
            if workload.is_store() {
                assert!(probe["exec"]["command"].is_array(), "{}: {probe}", workload.key());
            } else {
                assert_eq!(probe["httpGet"]["port"], "admin", "{}: {probe}", workload.key());
            }
        }
        if !workload.is_store() {
            let path = |probe: &str| workload.container[probe]["httpGet"]["path"].clone();
            assert_eq!(path("startupProbe"), "/livez", "{}", workload.key());
            assert_eq!(path("readinessProbe"), "/readyz?exclude=store", "{}", workload.key());
            assert_eq!(path("livenessProbe"), "/livez", "{}", workload.key());
            let ports =
                json!([{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9090}]);
            assert_eq!(workload.container["ports"], ports, "{}", workload.key());
        }
    }
}

#[test]
fn pods_are_spread_and_have_their_own_accounts() {
    let mut accounts = BTreeSet::new();
    let mut all = all_that_is_ever_applied();
    all.extend(load::resources());
    for workload in workloads() {
        assert_eq!(workload.pod["enableServiceLinks"], false, "{}", workload.key());
        let account = workload.pod["serviceAccountName"].as_str().expect("a service account").to_owned();
        let known =
            all.get(&format!("serviceaccount/{account}")).unwrap_or_else(|| panic!("no account {account}"));
        assert_eq!(known.at("/automountServiceAccountToken"), Some(&json!(false)), "{account}");
        assert_eq!(workload.pod["automountServiceAccountToken"], json!(false), "{account}");
        if workload.is_job() {
            continue;
        }
        assert_eq!(account, workload.document.name());
        assert!(accounts.insert(account), "{} shares its account", workload.key());
        let spread = &workload.pod["topologySpreadConstraints"][0];
        let selector = labels(spread.pointer("/labelSelector/matchLabels"));
        let own = labels(workload.document.at("/spec/template/metadata/labels"));
        assert!(!selector.is_empty() && selector.iter().all(|(name, value)| own.get(name) == Some(value)));
        assert_eq!(labels(workload.document.at("/spec/selector/matchLabels")), own, "{}", workload.key());
        assert_eq!(labels(workload.document.at("/metadata/labels")), own, "{}", workload.key());
    }
}

#[test]
fn secrets_claims_and_accounts_exist_before_they_are_referenced() {
    for step in applied() {
        let is_workload = |one: &&Document| one.key.starts_with("deployment.") || one.key.starts_with("job.");
        for document in step.cluster.values().filter(is_workload) {
            let text = document.value.to_string();
            let pod = document.at("/spec/template/spec").expect("a pod");
            let exists =
                |key: String| assert!(step.cluster.contains_key(&key), "after {}: no {key}", step.file);
            exists(format!("serviceaccount/{}", pod["serviceAccountName"].as_str().unwrap_or_default()));
            if text.contains("secretName") {
                exists("secret/voting-storage-secret".to_owned());
            }
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                if let Some(claim) =
                    volume.pointer("/persistentVolumeClaim/claimName").and_then(Value::as_str)
                {
                    exists(format!("persistentvolumeclaim/{claim}"));
                }
            }
        }
    }
}

#[test]
fn mounts_name_volumes_and_stores_write_to_volumes_only() {
    for workload in workloads() {
        let names = |list: &Value, field: &str| -> BTreeSet<String> {
            let items = list.as_array().into_iter().flatten();
            items.filter_map(|item| item[field].as_str().map(ToOwned::to_owned)).collect()
        };
        let volumes = names(&workload.pod["volumes"], "name");
        assert_eq!(names(&workload.container["volumeMounts"], "name"), volumes, "{}", workload.key());
        assert_eq!(volumes.contains("data"), workload.is_store(), "{}", workload.key());
    }
}

/// A secret in the environment is inherited by every child process and shown by debuggers and crash reports.
#[test]
fn pods_read_secrets_from_files() {
    let patch = crate::tutorial::blocks().into_iter().find(|block| block.commands.contains("patch secret"));
    let patch = patch.expect("the tutorial generates passwords").commands;
    let mut files = 0;
    for workload in workloads() {
        for variable in workload.environment() {
            let name = variable["name"].as_str().unwrap_or_default();
            assert!(variable["valueFrom"].is_null(), "{}: {name}", workload.key());
            let Some(secret) = name.strip_suffix("_FILE") else { continue };
            files += 1;
            let path = variable["value"].as_str().expect("a path");
            let mounts = workload.container["volumeMounts"].as_array().into_iter().flatten();
            let (folder, file) = path.rsplit_once('/').expect("a folder");
            let mount = mounts.clone().find(|mount| mount["mountPath"] == folder).expect("a mount");
            assert_eq!(mount["readOnly"], true, "{}", workload.key());
            let mut volumes = workload.pod["volumes"].as_array().into_iter().flatten();
            let volume = volumes.find(|volume| volume["name"] == mount["name"]).expect("a volume");
            assert_eq!(volume["secret"]["secretName"], "voting-storage-secret", "{}", workload.key());
            // Readable by the pod's group only.
            assert_eq!(volume["secret"]["defaultMode"], 0o440, "{}", workload.key());
            let security = &workload.pod["securityContext"];
            assert_eq!(security["fsGroup"], security["runAsGroup"], "{}", workload.key());
            let items = volume["secret"]["items"].as_array().expect("items");
            assert!(items.contains(&json!({"key": secret, "path": file})), "{}: {items:?}", workload.key());
            assert!(patch.contains(&format!("  {secret}: ")), "the tutorial does not generate {secret}");
        }
    }
    assert_eq!(files, 6, "app and analytics 2.0, MySQL with two, and the jobs in both directions");
}

/// The settings of the program and of its database, which no longer come from one secret.
#[test]
fn programs_and_database_agree_on_user_and_database() {
    for name in ["MYSQL_USER", "MYSQL_DATABASE"] {
        let values: BTreeSet<String> = workloads()
            .iter()
            .flat_map(|workload| workload.environment().into_iter().cloned().collect::<Vec<_>>())
            .filter(|variable| variable["name"] == name)
            .filter_map(|variable| variable["value"].as_str().map(ToOwned::to_owned))
            .collect();
        assert_eq!(values.len(), 1, "{name}: {values:?}");
        let value = values.first().expect("a value");
        assert!(crate::read("docs/tutorial.md").contains(&format!("  {name}: {value}\n")), "{name}");
    }
}

#[test]
fn no_password_is_in_the_repository() {
    let all = all_that_is_ever_applied();
    let secrets: Vec<_> = all.values().filter(|document| document.key.starts_with("secret/")).collect();
    assert_eq!(secrets.len(), 1);
    for secret in secrets {
        assert!(secret.at("/data").is_none() && secret.at("/stringData").is_none(), "{}", secret.key);
    }
    for workload in workloads() {
        for variable in workload.environment() {
            let name = variable["name"].as_str().unwrap_or_default();
            let is_password = name.contains("PASSWORD") && !name.ends_with("_FILE");
            assert!(!is_password || variable["value"].is_null(), "{}: {name}", workload.key());
        }
    }
}

#[test]
fn no_secret_is_pasted_into_a_url() {
    for workload in workloads() {
        for variable in workload.environment() {
            let value = variable["value"].as_str().unwrap_or_default();
            assert!(!(value.contains("://") && value.contains("$(")), "{}: {variable:?}", workload.key());
        }
    }
}

#[test]
fn every_variable_is_a_setting_of_the_program() {
    let app = voting_app::cli::Cli::command();
    let analytics = voting_analytics::cli::Cli::command();
    let voters = voting_load::cli::Cli::command();
    for workload in workloads() {
        let command = match workload.container["name"].as_str() {
            Some("voting-app") => &app,
            Some("voting-analytics") => &analytics,
            Some("voting-load") => &voters,
            _ => continue,
        };
        let known: BTreeSet<_> =
            command.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
        for variable in workload.environment() {
            let name = variable["name"].as_str().unwrap_or_default();
            assert!(known.contains(name), "{}: {name} is not a setting", workload.key());
            // The image sets the release.
            assert_ne!(name, "RELEASE", "{}", workload.key());
        }
    }
}

#[test]
fn budgets_and_autoscalers_find_their_pods() {
    let all = all_that_is_ever_applied();
    for (key, document) in &all {
        if key.starts_with("poddisruptionbudget.") {
            let selector = labels(document.at("/spec/selector/matchLabels"));
            let found = workloads().iter().any(|workload| {
                let own = labels(workload.document.at("/spec/template/metadata/labels"));
                selector.iter().all(|(name, value)| own.get(name) == Some(value))
            });
            assert!(found, "{key} guards nothing");
        }
        if key.starts_with("horizontalpodautoscaler.") {
            let target = document.at("/spec/scaleTargetRef/name").and_then(Value::as_str).unwrap_or_default();
            let workload = &all[&format!("deployment.apps/{target}")];
            // With both, every `kubectl apply` would shrink a scaled deployment.
            assert_eq!(workload.at("/spec/replicas"), None, "{key}: the deployment has replicas, too");
            assert!(document.at("/spec/minReplicas").is_some_and(|least| least.as_u64() > Some(1)), "{key}");
            let container = document.at("/spec/metrics/0/containerResource/container");
            assert_eq!(container, workload.at("/spec/template/spec/containers/0/name"), "{key}");
        }
    }
}

#[test]
fn every_served_port_has_a_network_policy() {
    let all = all_that_is_ever_applied();
    // A policy of its own for each direction: kube-router also applies the egress rules of a policy for both on the
    // receiving side.
    for direction in ["Ingress", "Egress"] {
        let default =
            &all[&format!("networkpolicy.networking.k8s.io/default-deny-{}", direction.to_lowercase())];
        assert_eq!(default.at("/spec/podSelector"), Some(&json!({})));
        assert_eq!(default.at("/spec/policyTypes"), Some(&json!([direction])));
    }
    for workload in workloads().iter().filter(|workload| !workload.is_job()) {
        let own = labels(workload.document.at("/spec/template/metadata/labels"));
        let open: BTreeSet<String> = all
            .values()
            .filter(|one| one.key.starts_with("networkpolicy.") && !one.name().starts_with("default-deny"))
            .filter(|one| {
                labels(one.at("/spec/podSelector/matchLabels"))
                    .iter()
                    .all(|(name, value)| own.get(name) == Some(value))
            })
            .flat_map(|one| {
                one.at("/spec/ingress/0/ports")
                    .and_then(|ports| ports.as_array().cloned())
                    .unwrap_or_default()
            })
            .map(|port| port["port"].to_string())
            .collect();
        let ports = workload.container["ports"].as_array().into_iter().flatten();
        let served =
            ports.filter(|port| port["name"] != "admin").map(|port| port["containerPort"].to_string());
        assert_eq!(open, served.collect(), "{}", workload.key());
    }
}

/// `kubectl` compares a file with its previous version including the server's defaults in lists and unions: without these
/// fields, it prints "configured" for an unchanged object.
#[test]
fn fields_that_the_server_would_add_are_written_out() {
    for (key, document) in all_that_is_ever_applied() {
        if key.starts_with("deployment.") && document.at("/spec/strategy/rollingUpdate").is_some() {
            assert_eq!(document.at("/spec/strategy/type"), Some(&json!("RollingUpdate")), "{key}");
        }
        if key.starts_with("networkpolicy.") {
            for rule in ["ingress", "egress"] {
                for rule in
                    document.at(&format!("/spec/{rule}")).and_then(Value::as_array).into_iter().flatten()
                {
                    for port in rule["ports"].as_array().into_iter().flatten() {
                        assert!(port["protocol"].is_string(), "{key}: {port}");
                    }
                }
            }
        }
    }
}

/// Default requests of a sidecar in Istio's installation, as in `tests/mesh`.
const SIDECAR: (u64, u64) = (100, 128);

#[test]
fn the_tutorial_states_what_the_largest_step_requests() {
    let step = applied().into_iter().find(|step| step.file.starts_with("k8s/step-3")).expect("step 3");
    let (mut cores, mut memory) = (0, 0);
    for (key, document) in step.cluster.iter().filter(|(key, _)| key.starts_with("deployment.")) {
        let autoscaler = key.replace("deployment.apps", "horizontalpodautoscaler.autoscaling");
        let least = step.cluster.get(&autoscaler).and_then(|one| one.at("/spec/minReplicas"));
        let pods = least.or(document.at("/spec/replicas")).and_then(Value::as_u64).expect("a number of pods");
        let requests = document.at("/spec/template/spec/containers/0/resources/requests").expect("requests");
        let number = |name: &str, unit: &str| -> u64 {
            let text = requests[name].as_str().and_then(|text| text.strip_suffix(unit));
            text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{key}: {name} in {unit}"))
        };
        cores += pods * (number("cpu", "m") + SIDECAR.0);
        memory += pods * (number("memory", "Mi") + SIDECAR.1);
    }
    let gigabytes = memory as f64 * 1024.0 * 1024.0 / 1e9;
    let sentence = format!("requests {:.2} cores and {gigabytes:.1} GB of memory", cores as f64 / 1000.0);
    let text = crate::read("docs/tutorial.md").replace('\n', " ");
    assert!(text.contains(&sentence), "the tutorial does not say: {sentence}");
}
