//! The resources after each step of the tutorial, and the output of `kubectl`.

use std::collections::BTreeMap;

use clap::ValueEnum as _;

use crate::parse::{Document, documents, labels};
use voting_tests::tutorial::{Block, Track};

use crate::tutorial::{blocks, blocks_of};

/// The applied documents by their name in `kubectl`.
pub type Cluster = BTreeMap<String, Document>;

/// An applied file and the cluster after it.
pub struct Applied {
    pub file: String,
    /// The output of `kubectl apply`.
    pub printed: String,
    /// The output in the tutorial.
    pub shown: String,
    pub cluster: Cluster,
}

/// The files of the main path of Istio's track in order.
pub fn applied() -> Vec<Applied> {
    applied_on(Track::Istio)
}

/// The files of the main path of a track in order.
pub fn applied_on(track: Track) -> Vec<Applied> {
    applied_by(blocks_of(track).iter().filter(|block| block.is_on_the_main_way()))
}

/// The files that these blocks apply, on a cluster without any.
pub fn applied_by<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> Vec<Applied> {
    let mut cluster = Cluster::new();
    let mut all = Vec::new();
    for block in blocks {
        let mut shown = block.output.split_inclusive('\n');
        for (file, selector) in applied_files(block) {
            let mut printed = String::new();
            for document in documents(file).into_iter().filter(|document| selector.matches(document)) {
                let verb = match cluster.get(&document.key) {
                    None => "created",
                    Some(before) if *before == document => "unchanged",
                    Some(_) => "configured",
                };
                printed += &format!("{} {verb}\n", document.key);
                cluster.insert(document.key.clone(), document);
            }
            let shown = shown.by_ref().take(printed.lines().count()).collect();
            all.push(Applied { file: file.to_owned(), printed, shown, cluster: cluster.clone() });
        }
    }
    all
}

fn applied_files(block: &Block) -> impl Iterator<Item = (&str, Selector)> {
    block.commands.lines().filter_map(|line| {
        let (file, options) = line.strip_prefix("kubectl apply -f ")?.split_once(' ')?;
        Some((file, Selector::of(options)))
    })
}

/// The option `--selector` of a command, with one requirement.
struct Selector {
    requirement: Option<(String, String, bool)>,
}

impl Selector {
    fn of(options: &str) -> Self {
        let text = options.split_once("--selector ").and_then(|(_, rest)| rest.split(' ').next());
        let requirement = text.map(|text| {
            let text = text.trim_matches('\'');
            let (name, value, is_equal) = match text.split_once("!=") {
                Some((name, value)) => (name, value, false),
                None => text.split_once('=').map(|(name, value)| (name, value, true)).expect("a requirement"),
            };
            (name.to_owned(), value.to_owned(), is_equal)
        });
        Self { requirement }
    }

    fn matches(&self, document: &Document) -> bool {
        self.requirement.as_ref().is_none_or(|(name, value, is_equal)| {
            let labels = labels(document.at("/metadata/labels"));
            (labels.get(name) == Some(value)) == *is_equal
        })
    }
}

/// Expected resources of each file, in this order, possibly with others between them.
const PROMISED: [(&str, &[&str]); 7] = [
    (
        "k8s/step-1-create-voting-app.yaml",
        &[
            "deployment.apps/voting-storage-1-0 created",
            "service/voting-storage created",
            "deployment.apps/voting-analytics-1-0 created",
            "service/voting-analytics created",
            "deployment.apps/voting-app-1-0 created",
            "service/voting-app created",
        ],
    ),
    (
        "istio/step-1-create-voting-app-gateway.yaml",
        &[
            "virtualservice.networking.istio.io/voting-app created",
            "gateway.networking.istio.io/voting-app-gateway created",
        ],
    ),
    ("k8s/step-2-update-voting-analytics-to-1.1.yaml", &["deployment.apps/voting-analytics-1-1 created"]),
    (
        "istio/step-2-update-and-add-routing-for-all-components.yaml",
        // DestinationRules come before the VirtualServices that use them.
        &[
            "destinationrule.networking.istio.io/voting-app created",
            "destinationrule.networking.istio.io/voting-analytics created",
            "destinationrule.networking.istio.io/voting-storage created",
            "virtualservice.networking.istio.io/voting-app configured",
            "virtualservice.networking.istio.io/voting-analytics created",
            "virtualservice.networking.istio.io/voting-storage created",
            "peerauthentication.security.istio.io/default created",
            "authorizationpolicy.security.istio.io/deny-all created",
        ],
    ),
    (
        "istio/step-3-add-routing-for-2.0-components.yaml",
        &[
            "destinationrule.networking.istio.io/voting-analytics configured",
            "destinationrule.networking.istio.io/voting-storage configured",
            "virtualservice.networking.istio.io/voting-storage configured",
            "virtualservice.networking.istio.io/voting-analytics configured",
        ],
    ),
    (
        "k8s/step-3-update-voting-app-with-new-storage.yaml",
        &[
            "service/voting-storage configured",
            "secret/voting-storage-secret created",
            "deployment.apps/voting-storage-2-0 created",
            "persistentvolumeclaim/mysql-pv-claim created",
            "deployment.apps/voting-analytics-2-0 created",
            "deployment.apps/voting-app-2-0 created",
        ],
    ),
    (
        "istio/step-3-add-routing-for-2.0-components.yaml",
        &[
            "destinationrule.networking.istio.io/voting-app configured",
            "virtualservice.networking.istio.io/voting-app configured",
        ],
    ),
];

#[test]
fn applying_prints_what_the_tutorial_shows() {
    for step in Track::value_variants().iter().flat_map(|track| applied_on(*track)) {
        assert_eq!(step.printed, step.shown, "{}", step.file);
    }
}

#[test]
fn applying_creates_the_expected_resources_in_order() {
    let applied = applied();
    let mut steps = applied.iter();
    for (file, promised) in PROMISED {
        let step = steps.find(|step| step.file == file).unwrap_or_else(|| panic!("{file} is never applied"));
        let mut lines = step.printed.lines();
        for line in promised {
            assert!(lines.any(|printed| printed == *line), "{file} does not print {line:?} in its place");
        }
    }
}

/// Pods without rules could be reached by accident, and browsers routed to pods that are not ready get an error.
#[test]
fn the_rules_of_2_0_exist_before_its_pods_and_browsers_come_when_they_are_ready() {
    let blocks = blocks_of(Track::Istio);
    let position = |text: &str| {
        let found = blocks.iter().position(|block| block.commands.contains(text));
        found.unwrap_or_else(|| panic!("the tutorial has no {text}"))
    };
    let rules =
        position("istio/step-3-add-routing-for-2.0-components.yaml --selector 'app!=voting-app' --namespace");
    let pods = position("kubectl apply -f k8s/step-3-update-voting-app-with-new-storage.yaml --namespace");
    let ready =
        position("kubectl wait --for=condition=available deployment --selector version=2.0 --namespace");
    let browsers = position("istio/step-3-add-routing-for-2.0-components.yaml --namespace");
    assert!(rules < pods && pods < ready && ready < browsers, "{rules} {pods} {ready} {browsers}");
}

/// Step 3 adds a port to the service of step 1, so applying the file of step 1 again would take it away.
#[test]
fn the_file_of_a_release_can_be_applied_again_without_what_releases_share() {
    let file = "k8s/step-1-create-voting-app.yaml";
    let command = format!("kubectl apply -f {file} --selector version=1.0 --namespace voting");
    assert!(blocks().iter().any(|block| block.commands.trim() == command), "the tutorial has no {command}");
    let selector = Selector::of("--selector version=1.0 --namespace voting");
    let selected: Vec<_> = documents(file).into_iter().filter(|one| selector.matches(one)).collect();
    assert!(selected.iter().filter(|one| one.key.starts_with("deployment.")).count() == 3);
    for step in applied().iter().filter(|step| !step.file.starts_with("k8s/step-1")) {
        for document in &selected {
            assert_eq!(step.cluster[&document.key], *document, "{} changes it", step.file);
        }
    }
}

#[test]
fn the_first_release_has_three_pods_and_the_service_its_ports() {
    let applied = applied();
    let first = &applied.first().expect("a step").cluster;
    let autoscaler = &first["horizontalpodautoscaler.autoscaling/voting-app-1-0"];
    assert_eq!(autoscaler.at("/spec/minReplicas"), Some(&3.into()));
    let ports = |cluster: &Cluster, service: &str| -> Vec<u64> {
        let ports = cluster[&format!("service/{service}")]
            .at("/spec/ports")
            .and_then(|ports| ports.as_array().cloned());
        ports.unwrap_or_default().iter().filter_map(|port| port["port"].as_u64()).collect()
    };
    for (service, port) in [("voting-app", 8080), ("voting-analytics", 8080), ("voting-storage", 6379)] {
        assert_eq!(ports(first, service), [port], "{service}");
    }
    let third = &applied.iter().find(|step| step.file.starts_with("k8s/step-3")).expect("step 3").cluster;
    assert_eq!(ports(third, "voting-storage"), [6379, 3306]);
}

#[test]
fn the_mesh_is_strict_from_step_2_on() {
    for step in applied().iter().skip_while(|step| !step.file.starts_with("istio/step-2")) {
        let strict =
            step.cluster["peerauthentication.security.istio.io/default"].at("/spec/mtls/mode").cloned();
        assert_eq!(strict, Some("STRICT".into()), "{}", step.file);
        let denial = &step.cluster["authorizationpolicy.security.istio.io/deny-all"];
        assert_eq!(denial.at("/spec"), Some(&serde_json::json!({})), "{}", step.file);
    }
}
