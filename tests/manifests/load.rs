//! The voters of `k8s/load/`: who they reach, that their job ends, and the documents that apply it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::compose::services;
use crate::parse::{Document, documents};
use crate::{read, root};

const FILE: &str = "k8s/load/voting-load.yaml";

/// The resources of the load by their name in `kubectl`.
pub(crate) fn resources() -> BTreeMap<String, Document> {
    documents(FILE).into_iter().map(|document| (document.key.clone(), document)).collect()
}

fn job() -> Document {
    resources().remove("job.batch/voting-load").expect("the job")
}

/// The port of the picture, which no policy opens.
fn picture_port() -> String {
    let job = job();
    let environment =
        job.at("/spec/template/spec/containers/0/env").and_then(Value::as_array).expect("settings");
    let of = |name: &str| environment.iter().find(|variable| variable["name"] == name);
    // Its default is loopback.
    assert!(of("SPLIT_ADDRESS").is_none(), "other pods reach the picture");
    of("SPLIT_PORT").expect("the picture")["value"].as_str().expect("a text").to_owned()
}

#[test]
fn a_document_applies_the_only_file_and_reads_the_account() {
    let folder = std::fs::read_dir(root().join("k8s/load")).expect("the folder");
    assert_eq!(folder.count(), 2, "a file besides {FILE} and the script that ends its load");
    let text = read("docs/operations.md");
    for command in [
        format!("kubectl apply -f {FILE} --namespace voting"),
        "kubectl logs --follow job/voting-load --namespace voting".to_owned(),
        format!("kubectl delete -f {FILE} --namespace voting"),
        format!("kubectl port-forward job/voting-load {} --namespace voting", picture_port()),
        "sh k8s/load/account.sh --namespace voting".to_owned(),
    ] {
        assert!(text.contains(&command), "docs/operations.md does not say: {command}");
    }
}

#[test]
fn the_job_ends_with_its_load_and_is_not_repeated() {
    let job = job();
    assert_eq!(job.at("/spec/backoffLimit"), Some(&json!(0)));
    assert_eq!(job.at("/spec/template/spec/restartPolicy"), Some(&json!("Never")));
    // A sidecar might outlive the voters.
    assert_eq!(job.at("/spec/template/metadata/labels/sidecar.istio.io~1inject"), Some(&json!("false")));
    let environment =
        job.at("/spec/template/spec/containers/0/env").and_then(Value::as_array).expect("settings");
    let duration = environment.iter().find(|variable| variable["name"] == "DURATION").expect("a duration");
    let duration: u64 = duration["value"].as_str().expect("a text").parse().expect("seconds");
    let deadline = job.at("/spec/activeDeadlineSeconds").and_then(Value::as_u64).expect("a deadline");
    assert!(duration + 600 <= deadline, "{duration} s leave no time for the audit before {deadline} s");
    assert!(job.at("/spec/template/spec/terminationGracePeriodSeconds").and_then(Value::as_u64) >= Some(120));
}

#[test]
fn voters_reach_the_gateway_that_the_app_admits_and_dns_alone() {
    let step = documents("k8s/step-1-create-voting-app.yaml");
    let policy = |name: &str| {
        let of_name = |one: &&Document| one.key == format!("networkpolicy.networking.k8s.io/{name}");
        step.iter().find(of_name).unwrap_or_else(|| panic!("no policy {name}")).clone()
    };
    let resources = resources();
    let egress = &resources["networkpolicy.networking.k8s.io/voting-load-egress"];
    let ingress = &resources["networkpolicy.networking.k8s.io/voting-load-ingress"];
    for policy in [egress, ingress] {
        let own = json!({"matchLabels": {"app": "voting-load"}});
        assert_eq!(policy.at("/spec/podSelector"), Some(&own), "{}", policy.key);
    }
    assert_eq!(egress.at("/spec/policyTypes"), Some(&json!(["Egress"])));
    assert_eq!(egress.at("/spec/egress").and_then(Value::as_array).map(Vec::len), Some(2));
    assert_eq!(egress.at("/spec/egress/0/to/0"), policy("voting-app").at("/spec/ingress/0/from/0"));
    assert_eq!(egress.at("/spec/egress/1"), policy("default-deny-egress").at("/spec/egress/2"), "DNS");
    let of_gateway_api = documents("gateway-api/step-1-create-voting-app-gateway.yaml");
    let gateway =
        of_gateway_api.iter().find(|one| one.name() == "voting-app-from-gateway").expect("the policy");
    assert_eq!(egress.at("/spec/egress/0/to/1"), gateway.at("/spec/ingress/0/from/0"));

    assert_eq!(ingress.at("/spec/policyTypes"), Some(&json!(["Ingress"])));
    assert_eq!(ingress.at("/spec/ingress"), Some(&json!([{"ports": [{"port": 9090, "protocol": "TCP"}]}])));
    // No pod of the namespace admits the voters.
    for document in &step {
        let from = document.at("/spec/ingress").map(Value::to_string).unwrap_or_default();
        assert!(!from.contains("voting-load"), "{}", document.key);
    }
}

#[test]
fn compose_and_the_job_have_the_same_settings_but_for_address_and_time() {
    let job = job();
    let environment =
        job.at("/spec/template/spec/containers/0/env").and_then(Value::as_array).expect("settings");
    let compose = &services()["load"]["environment"];
    for variable in environment {
        let (name, value) = (variable["name"].as_str().expect("a name"), &variable["value"]);
        match name {
            "POLL_URL" => assert_eq!(compose[name], "http://gateway:8080"),
            "DURATION" => assert_eq!(compose[name], "${DURATION:-60}"),
            "SPLIT_PORT" => assert_eq!(compose[name], *value),
            _ => assert_eq!(compose[name], format!("${{{name}:-{}}}", value.as_str().expect("a value"))),
        }
    }
    // In its container the picture listens on all addresses, where the port is published for this machine alone.
    assert_eq!(compose.as_object().expect("settings").len(), environment.len() + 1);
    assert_eq!(compose["SPLIT_ADDRESS"], "::");
    assert_eq!(services()["load"]["profiles"], json!(["load"]));
    assert!(read("compose.yaml").contains("docker compose --profile load up"));
    assert!(read("README.md").contains("docker compose --profile load up"));
}
