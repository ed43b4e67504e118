//! The automated canary of `rollouts/` and its commands in `docs/operations.md`. `tests/rollouts` runs it on the code of Argo
//! Rollouts.

use serde::Deserialize as _;
use serde_json::Value;

use crate::read;

/// The documents of a file, whose types this crate does not know.
fn documents(file: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(&read(file))
        .map(|document| Value::deserialize(document).unwrap_or_else(|error| panic!("{file}: {error}")))
        .collect()
}

const FILES: [&str; 3] = ["rollouts/routing.yaml", "rollouts/analysis.yaml", "rollouts/rollout.yaml"];

#[test]
fn the_autoscaler_alone_decides_on_the_pods_of_the_rollout() {
    let all = documents("rollouts/rollout.yaml");
    let of_kind =
        |kind: &str| all.iter().find(|one| one["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"));
    let (rollout, autoscaler) = (of_kind("Rollout"), of_kind("HorizontalPodAutoscaler"));
    assert_eq!(autoscaler["spec"]["scaleTargetRef"]["name"], rollout["metadata"]["name"]);
    // With both, every `kubectl apply` would shrink a scaled rollout.
    assert!(rollout["spec"]["replicas"].is_null(), "{}", rollout["spec"]["replicas"]);
}

#[test]
fn leaving_argo_rollouts_leaves_nothing_behind() {
    let text = read("docs/operations.md");
    let (_, after) = text.split_once("To stop using Argo Rollouts").expect("the way to leave");
    let commands = after.split("```").nth(1).expect("commands");
    let deletions: Vec<_> = commands.lines().filter(|line| line.starts_with("kubectl delete ")).collect();
    let mut kept = Vec::new();
    for file in FILES {
        let by_file = deletions.iter().any(|line| line.contains(&format!("-f {file}")));
        for document in documents(file) {
            let kind = document["kind"].as_str().expect("a kind").to_lowercase();
            let name = document["metadata"]["name"].as_str().expect("a name");
            let by_name = deletions.iter().any(|line| line.contains(&format!("delete {kind} {name} ")));
            if !by_file && !by_name {
                kept.push(format!("{kind} {name}"));
            }
        }
    }
    // The route of the browsers, which the tutorial's file replaces.
    assert_eq!(kept, ["virtualservice voting-app"]);
}
