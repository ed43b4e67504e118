//! The queries of the dashboard, the rules and the analyses.

use std::collections::BTreeSet;

use promql_parser::parser::{Expr, parse};
use regex::{Captures, Regex};
use serde::Deserialize as _;
use serde_json::Value;

use crate::documents::{dashboard, panels, rules};
use crate::read;

/// A query and its location.
#[derive(Clone, Debug)]
pub struct Query {
    /// The location for messages.
    pub place: String,
    /// The query, with values for the variables of a dashboard and the arguments of an analysis.
    pub text: String,
    /// Whether it has a result without an incident; an alert has none.
    pub is_answered: bool,
    /// Labels in the legend.
    pub legend: Vec<String>,
}

impl Query {
    pub fn parsed(&self) -> Expr {
        parse(&self.text).unwrap_or_else(|error| panic!("{}: {error}\n{}", self.place, self.text))
    }
}

pub fn all() -> Vec<Query> {
    let queries = [of_dashboard(), of_rules(), of_analyses(), of_flagger()];
    for (name, (queries, least)) in
        ["dashboard", "rules", "analyses", "Flagger"].iter().zip(queries.iter().zip([25, 17, 7, 4]))
    {
        assert!(queries.len() >= least, "only {} queries in the {name}", queries.len());
    }
    queries.concat()
}

/// The names of recorded series.
pub fn recorded() -> BTreeSet<String> {
    rules().spec.groups.into_iter().flat_map(|group| group.rules).filter_map(|rule| rule.record).collect()
}

fn of_dashboard() -> Vec<Query> {
    let dashboard = dashboard();
    let label = Regex::new(r"\{\{(\w+)\}\}").unwrap();
    let mut queries = Vec::new();
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().unwrap() {
            let legend = target["legendFormat"].as_str().unwrap();
            queries.push(Query {
                place: format!("dashboard, {}", panel["title"]),
                text: with_variables(target["expr"].as_str().unwrap()),
                is_answered: true,
                legend: label.captures_iter(legend).map(|found| found[1].to_owned()).collect(),
            });
        }
    }
    let values = Regex::new(r"^label_values\((.*), (\w+)\)$").unwrap();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let found = values.captures(query).unwrap_or_else(|| panic!("{query}"));
        queries.push(Query {
            place: format!("dashboard, variable {}", variable["name"]),
            text: with_variables(&found[1]),
            is_answered: true,
            legend: vec![found[2].to_owned()],
        });
    }
    queries
}

fn with_variables(query: &str) -> String {
    let query = query.replace("$__rate_interval", "1m");
    let query = Regex::new(r#""\$(namespace|component|release)""#).unwrap().replace_all(&query, "\".+\"");
    assert!(!query.contains('$'), "an unknown variable: {query}");
    query.into_owned()
}

fn of_rules() -> Vec<Query> {
    let rules = rules().spec.groups.into_iter().flat_map(|group| group.rules);
    rules
        .map(|rule| Query {
            place: format!("rules, {}", rule.record.as_ref().or(rule.alert.as_ref()).unwrap()),
            text: rule.expr,
            is_answered: rule.record.is_some(),
            legend: Vec::new(),
        })
        .collect()
}

/// The label by which Argo Rollouts names the pods of a revision.
pub const HASH: &str = "5d5d5d";

fn of_flagger() -> Vec<Query> {
    let file = read("progressive-delivery/flagger/metrics.yaml");
    let templates =
        serde_yaml_ng::Deserializer::from_str(&file).map(|document| Value::deserialize(document).unwrap());
    let of_template = |template: Value| {
        let query = template["spec"]["query"].as_str().unwrap();
        let query = query.replace("{{ namespace }}", "voting").replace("{{ target }}", "voting-app");
        assert!(!query.contains("{{"), "an unknown argument: {query}");
        let place = format!("Flagger, {}", template["metadata"]["name"]);
        Query { place, text: query, is_answered: true, legend: Vec::new() }
    };
    templates.map(of_template).collect()
}

fn of_analyses() -> Vec<Query> {
    let mut queries = Vec::new();
    for document in
        serde_yaml_ng::Deserializer::from_str(&read("progressive-delivery/argo-rollouts/analysis.yaml"))
    {
        let template = Value::deserialize(document).unwrap();
        for metric in template["spec"]["metrics"].as_array().unwrap() {
            // The account is a job.
            let Some(query) = metric["provider"]["prometheus"]["query"].as_str() else { continue };
            let query = query.replace("{{args.namespace}}", "voting").replace("{{args.release}}", "1.0");
            let query = query.replace("{{args.hash}}", HASH).replace("{{args.window}}", "2m");
            assert!(!query.contains("{{"), "an unknown argument: {query}");
            let place = format!("analysis, {}", metric["name"]);
            queries.push(Query { place, text: query, is_answered: true, legend: Vec::new() });
        }
    }
    queries
}

/// The rules as a Prometheus file, with or without annotations.
pub fn rule_file(annotations: bool) -> Value {
    let mut file: Value = serde_yaml_ng::from_str(&read("monitoring/rules.yaml")).unwrap();
    let mut spec = file["spec"].take();
    if !annotations {
        let groups = spec["groups"].as_array_mut().unwrap();
        for rule in groups.iter_mut().flat_map(|group| group["rules"].as_array_mut().unwrap()) {
            rule.as_object_mut().unwrap().remove("annotations");
        }
    }
    spec
}

/// Speed-up by [`hurried`] durations.
pub const HURRY: u64 = 20;

/// Divides all durations of a text by [`HURRY`].
pub fn hurried(text: &str) -> String {
    // A duration is in brackets, after `offset`, or alone.
    let place = Regex::new(r"(\[|offset |^)((?:\d+[smh])+)").unwrap();
    let part = Regex::new(r"(\d+)([smh])").unwrap();
    let replace = |found: &Captures<'_>| {
        let milliseconds: u64 = part
            .captures_iter(&found[2])
            .map(|part| {
                let number: u64 = part[1].parse().unwrap();
                number
                    * match &part[2] {
                        "s" => 1_000,
                        "m" => 60_000,
                        _ => 3_600_000,
                    }
            })
            .sum();
        format!("{}{}ms", &found[1], milliseconds / HURRY)
    };
    place.replace_all(text, replace).into_owned()
}

#[test]
fn all_durations_of_a_rule_are_hurried() {
    assert_eq!(
        hurried("rate(a[5m]) + max_over_time(b5m[50s] offset 10m10s)"),
        "rate(a[15000ms]) + max_over_time(b5m[2500ms] offset 30500ms)"
    );
    assert_eq!(hurried("1h"), "180000ms");
}

#[test]
fn every_query_is_parsed() {
    for query in all() {
        query.parsed();
    }
}
