//! Strict parsing of `monitoring/`: unknown fields are errors.

#![allow(dead_code, reason = "a field that is only there to be parsed strictly")]

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use voting_tests::resource::Resource;

use crate::read;

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct PrometheusRule {
    pub groups: Vec<Group>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub name: String,
    pub interval: String,
    pub rules: Vec<Rule>,
}

/// A recording rule or an alert.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub record: Option<String>,
    pub alert: Option<String>,
    pub expr: String,
    #[serde(rename = "for")]
    pub waits: Option<String>,
    pub keep_firing_for: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PodMonitor {
    pub selector: Selector,
    pub pod_metrics_endpoints: Vec<Endpoint>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Selector {
    pub match_expressions: Vec<Expression>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Expression {
    pub key: String,
    pub operator: String,
    pub values: Vec<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Endpoint {
    pub port: String,
    pub path: String,
    pub interval: String,
    pub relabelings: Vec<Relabeling>,
    pub metric_relabelings: Vec<Relabeling>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Relabeling {
    pub source_labels: Vec<String>,
    pub regex: String,
    pub action: Option<String>,
    pub target_label: Option<String>,
    pub replacement: Option<String>,
}

pub fn rules() -> Resource<PrometheusRule> {
    resource("monitoring/rules.yaml", "PrometheusRule")
}

pub fn pod_monitor() -> Resource<PodMonitor> {
    resource("monitoring/podmonitor.yaml", "PodMonitor")
}

fn resource<S: DeserializeOwned>(name: &str, kind: &str) -> Resource<S> {
    let resource: Resource<S> =
        serde_yaml_ng::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!((resource.api_version.as_str(), resource.kind.as_str()), ("monitoring.coreos.com/v1", kind));
    assert_eq!(
        (resource.metadata.name.as_str(), resource.metadata.labels["app"].as_str()),
        ("voting", "voting")
    );
    resource
}

pub fn dashboard() -> Value {
    serde_json::from_str(&read("monitoring/dashboard.json")).expect("the dashboard is JSON")
}

/// The panels without row headings.
pub fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
}

#[test]
fn every_alert_has_a_severity_and_a_runbook() {
    let runbook = read("docs/operations.md");
    let sections: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let mut alerts = BTreeSet::new();
    for rule in rules().spec.groups.into_iter().flat_map(|group| group.rules) {
        let Some(alert) = rule.alert else {
            assert!(
                rule.record.is_some() && rule.labels.is_empty() && rule.annotations.is_empty(),
                "{rule:?}"
            );
            continue;
        };
        assert!(["critical", "warning"].contains(&rule.labels["severity"].as_str()), "{alert}");
        assert!(
            rule.annotations["summary"].len() > 20 && rule.annotations["description"].len() > 20,
            "{alert}"
        );
        let section = format!("docs/operations.md#{}", alert.to_lowercase());
        assert_eq!(rule.annotations["runbook"], section, "{alert}");
        assert!(sections.contains(alert.as_str()), "the runbook has no section {alert}");
        assert!(alerts.insert(alert.clone()), "{alert} is there twice");
    }
    let stale: Vec<_> = sections
        .iter()
        .filter(|section| section.starts_with("Voting") && !alerts.contains(**section))
        .collect();
    assert!(stale.is_empty(), "sections of the runbook without an alert: {stale:?}");
}

#[test]
fn unit_tests_cover_every_alert_firing_and_silent() {
    let tests: Value = serde_yaml_ng::from_str(&read("tests/monitoring/promtool.yaml")).unwrap();
    let tests = tests["tests"].as_array().unwrap().iter();
    let expected: BTreeSet<_> = tests
        .flat_map(|test| test["alert_rule_test"].as_array().into_iter().flatten())
        .map(|test| (test["alertname"].as_str().unwrap(), !test["exp_alerts"].as_array().unwrap().is_empty()))
        .collect();
    for rule in rules().spec.groups.iter().flat_map(|group| &group.rules) {
        let Some(alert) = rule.alert.as_deref() else { continue };
        assert!(expected.contains(&(alert, true)), "{alert} never fires in a test");
        assert!(expected.contains(&(alert, false)), "{alert} is never silent in a test");
    }
}

#[test]
fn the_pod_monitor_selects_existing_ports() {
    let monitor = pod_monitor().spec;
    let mut found = BTreeMap::new();
    for manifest in ["step-1-create-voting-app", "step-3-update-voting-app-with-new-storage"] {
        for document in serde_yaml_ng::Deserializer::from_str(&read(&format!("k8s/{manifest}.yaml"))) {
            let document = Value::deserialize(document).unwrap();
            let template = &document["spec"]["template"];
            let app = template["metadata"]["labels"]["app"].as_str().unwrap_or_default().to_owned();
            let selected = monitor.selector.match_expressions.iter().all(|expression| {
                assert_eq!((expression.key.as_str(), expression.operator.as_str()), ("app", "In"));
                expression.values.contains(&app)
            });
            let ports = template["spec"]["containers"][0]["ports"].as_array();
            let port = ports.and_then(|ports| {
                ports.iter().find(|port| port["name"] == monitor.pod_metrics_endpoints[0].port.as_str())
            });
            if document["kind"] == "Deployment" {
                assert_eq!(selected, port.is_some(), "{app}: a pod with the port is selected, and no other");
                found.insert(app, port.map(|port| port["containerPort"].clone()));
            }
        }
    }
    assert_eq!(found["voting-app"], Some(Value::from(9090)));
    assert_eq!(found["voting-analytics"], Some(Value::from(9090)));
    assert_eq!(found["voting-storage"], None);
}

#[test]
fn the_dashboard_is_complete() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(39), "{}", dashboard["schemaVersion"]);
    let mut ids = BTreeSet::new();
    let mut taken = BTreeMap::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "the id of {title} is taken");
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title} is too wide");
        for place in
            (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            if let Some(other) = taken.insert(place, title) {
                panic!("{title} and {other} overlap at {place:?}");
            }
        }
    }
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(panel["description"].as_str().unwrap_or_default().len() > 40, "{title} has no description");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    let names: Vec<_> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["datasource", "namespace", "component", "release"]);
}

#[test]
fn files_in_the_documentation_exist() {
    let name =
        regex::Regex::new(r"(?:monitoring|progressive-delivery|istio|k8s|tests)/[\w./-]+\.(?:yaml|json)")
            .unwrap();
    let text = read("docs/operations.md");
    let names: BTreeSet<_> = name.find_iter(&text).map(|found| found.as_str()).collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        read(name);
    }
}
