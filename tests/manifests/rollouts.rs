//! The automated canaries of `progressive-delivery` and their commands in `docs/operations.md`. `tests/rollouts` runs it on the code of Argo
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

const FILES: [&str; 3] = [
    "progressive-delivery/argo-rollouts/routing.yaml",
    "progressive-delivery/argo-rollouts/analysis.yaml",
    "progressive-delivery/argo-rollouts/rollout.yaml",
];

#[test]
fn the_autoscaler_alone_decides_on_the_pods_of_the_rollout() {
    let all = documents("progressive-delivery/argo-rollouts/rollout.yaml");
    let of_kind =
        |kind: &str| all.iter().find(|one| one["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"));
    let (rollout, autoscaler) = (of_kind("Rollout"), of_kind("HorizontalPodAutoscaler"));
    assert_eq!(autoscaler["spec"]["scaleTargetRef"]["name"], rollout["metadata"]["name"]);
    // With both, every `kubectl apply` would shrink a scaled rollout.
    assert!(rollout["spec"]["replicas"].is_null(), "{}", rollout["spec"]["replicas"]);
}

#[test]
fn the_account_votes_from_the_pod_of_the_load() {
    let of_kind = |file: &str, name: &str| {
        let mut all = documents(file).into_iter();
        all.find(|one| one["metadata"]["name"] == name && one["kind"] != "ServiceAccount").expect(name)
    };
    let template = of_kind("progressive-delivery/argo-rollouts/analysis.yaml", "voting-app-account");
    let mut account = template["spec"]["metrics"][0]["provider"]["job"]["spec"].clone();
    let mut load = of_kind("k8s/load/voting-load.yaml", "voting-load")["spec"].clone();
    // It can't be repeated, and its end is the verdict.
    assert_eq!(account["backoffLimit"], 0);
    let container = |job: &mut Value| job["template"]["spec"]["containers"][0].take();
    let (of_account, of_load) = (container(&mut account), container(&mut load));
    for field in ["image", "securityContext"] {
        assert_eq!(of_account[field], of_load[field], "{field}");
    }
    assert_eq!(account["template"]["spec"], load["template"]["spec"]);
    assert_eq!(account["template"]["metadata"]["labels"], load["template"]["metadata"]["labels"]);

    // Its cookie is that of its route.
    let set = |name: &str| {
        let environment = of_account["env"].as_array().expect("settings");
        environment.iter().find(|one| one["name"] == name).expect(name)["value"].clone()
    };
    let cookie = set("COOKIE");
    let rollout = of_kind("progressive-delivery/argo-rollouts/rollout.yaml", "voting-app");
    let route = rollout["spec"]["strategy"]["canary"]["steps"][1]["setHeaderRoute"].clone();
    let regex = format!(r"(.*;\s*)?{}(\s*;.*)?", cookie.as_str().expect("a text"));
    assert_eq!(route["match"][0]["headerValue"]["regex"], regex);
    // Those measured in the background fail at the third measurement, while the account still votes.
    let duration: u64 = set("DURATION").as_str().expect("a text").parse().expect("seconds");
    assert!(duration > 60 + 2 * 20);
}

/// The canaries of Flagger with their track.
fn of_flagger(kind: &str) -> Vec<Value> {
    let files =
        ["istio", "gateway-api"].map(|track| format!("progressive-delivery/flagger/{track}-{kind}.yaml"));
    files.iter().flat_map(|file| documents(file)).collect()
}

#[test]
fn flaggers_canaries_differ_in_their_track_and_in_who_gets_them() {
    let metrics = documents("progressive-delivery/flagger/metrics.yaml");
    let names: Vec<_> = metrics.iter().map(|one| &one["metadata"]["name"]).collect();
    let kinds = ["feature-flag", "percentage"].map(of_flagger);
    for canary in kinds.iter().flatten() {
        let used = canary["spec"]["analysis"]["metrics"].as_array().expect("metrics").iter();
        let used: Vec<_> = used.map(|metric| &metric["templateRef"]["name"]).collect();
        assert_eq!(used, names);
    }
    let [flag, percentage] = &kinds;
    for kind in &kinds {
        assert_eq!(kind[0]["spec"]["analysis"], kind[1]["spec"]["analysis"], "of the two tracks");
    }
    for (track, (flag, percentage)) in flag.iter().zip(percentage).enumerate() {
        assert_eq!(flag["spec"]["service"], percentage["spec"]["service"], "track {track}");
    }
    let routing = read("istio/step-3-add-routing-for-2.0-components.yaml");
    let regex =
        flag[0]["spec"]["analysis"]["match"][0]["headers"]["cookie"]["regex"].as_str().expect("a cookie");
    assert!(routing.contains(&format!("cookie: {{regex: '{regex}'}}")), "{regex}");
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
