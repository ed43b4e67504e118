//! Every metric, label and value in a query exists in the `/metrics` of the real services.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use regex::Regex;
use voting_tests::http::Visitor;

use crate::documents::pod_monitor;
use crate::queries::{Query, all, recorded};
use crate::read;
use crate::traffic::Poll;

/// Labels that Prometheus adds to every series of a target.
const TARGET: [&str; 4] = ["instance", "job", "namespace", "pod"];

/// Labels of each metric with their values.
#[derive(Debug, Default)]
struct Metrics(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Metrics {
    /// Adds metrics in the text format.
    fn add(&mut self, text: &str) {
        let line = Regex::new(r#"^(\w+)(?:\{(.*)\})? \S+$"#).unwrap();
        let label = Regex::new(r#"(\w+)="([^"]*)""#).unwrap();
        for sample in text.lines().filter(|line| !line.starts_with('#')) {
            let found = line.captures(sample).unwrap_or_else(|| panic!("no sample: {sample}"));
            let labels = self.0.entry(found[1].to_owned()).or_default();
            for pair in label.captures_iter(found.get(2).map_or("", |labels| labels.as_str())) {
                labels.entry(pair[1].to_owned()).or_default().insert(pair[2].to_owned());
            }
        }
    }
}

/// Finds errors in a query.
struct Check<'a> {
    metrics: &'a Metrics,
    problems: Vec<String>,
    /// The names of the selectors, and the labels of groupings and matches.
    names: BTreeSet<String>,
    grouped: BTreeSet<String>,
}

impl ExprVisitor for Check<'_> {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
        match expression {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::Aggregate(aggregate) => self.group(aggregate.modifier.as_ref()),
            Expr::Binary(binary) => {
                self.group(binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref()));
            }
            _ => {}
        }
        Ok(true)
    }
}

impl Check<'_> {
    fn group(&mut self, modifier: Option<&LabelModifier>) {
        self.grouped
            .extend(modifier.into_iter().flat_map(|modifier| modifier.labels().labels.iter().cloned()));
    }

    fn selector(&mut self, selector: &VectorSelector) {
        let name = selector.name.clone().expect("every selector names its metric");
        self.names.insert(name.clone());
        if name == "up" || recorded().contains(&name) {
            return;
        }
        let Some(labels) = self.metrics.0.get(&name) else {
            self.problems.push(format!("there is no metric {name}"));
            return;
        };
        for matcher in &selector.matchers.matchers {
            if TARGET.contains(&matcher.name.as_str()) {
                continue;
            }
            let Some(values) = labels.get(&matcher.name) else {
                self.problems.push(format!("{name} has no label {}", matcher.name));
                continue;
            };
            for value in missing(matcher, values) {
                self.problems.push(format!("{name} has no {} {value:?}", matcher.name));
            }
        }
    }
}

/// Alternatives of a matcher, also of a negative one, that match no value: probably misspelt.
fn missing(matcher: &Matcher, values: &BTreeSet<String>) -> Vec<String> {
    let alternatives: Vec<&str> = match &matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => vec![matcher.value.as_str()],
        MatchOp::Re(_) | MatchOp::NotRe(_) => matcher.value.split('|').collect(),
    };
    let is_regex = matches!(matcher.op, MatchOp::Re(_) | MatchOp::NotRe(_));
    let matches = |alternative: &str, value: &str| {
        if is_regex {
            Regex::new(&format!("^(?:{alternative})$")).unwrap().is_match(value)
        } else {
            alternative == value
        }
    };
    alternatives
        .into_iter()
        .filter(|alternative| !values.iter().any(|value| matches(alternative, value)))
        .map(ToOwned::to_owned)
        .collect()
}

/// Finds metrics, labels and values that the services do not have.
fn problems(query: &Query, metrics: &Metrics) -> Vec<String> {
    let (grouped, names, mut problems) = walked(query, metrics);
    // Recorded series have the grouping labels of their rules.
    let recorded: BTreeSet<_> = all()
        .iter()
        .filter(|other| names.iter().any(|name| other.place == format!("rules, {name}")))
        .flat_map(|other| walked(other, metrics).0)
        .collect();
    let has = |label: &String| {
        TARGET.contains(&label.as_str())
            || recorded.contains(label)
            || names.iter().any(|name| metrics.0.get(name).is_some_and(|labels| labels.contains_key(label)))
    };
    let unknown: Vec<_> = grouped.iter().chain(&query.legend).filter(|label| !has(label)).collect();
    problems.extend(unknown.into_iter().map(|label| format!("no metric of it has the label {label}")));
    problems.into_iter().map(|problem| format!("{}: {problem}", query.place)).collect()
}

fn walked(query: &Query, metrics: &Metrics) -> (BTreeSet<String>, BTreeSet<String>, Vec<String>) {
    let mut check = Check { metrics, problems: Vec::new(), names: BTreeSet::new(), grouped: BTreeSet::new() };
    let Ok(_) = walk_expr(&mut check, &query.parsed());
    (check.grouped, check.names, check.problems)
}

async fn metrics() -> Metrics {
    let poll = Poll::start().await;
    poll.see_everything().await;
    let mut metrics = Metrics::default();
    for service in [&poll.deployment.app, &poll.deployment.analytics] {
        metrics.add(&Visitor::new(service.admin_url("")).get("/metrics").await.text);
    }
    metrics
}

#[tokio::test]
async fn every_metric_label_and_value_of_a_query_exists() {
    let metrics = metrics().await;
    let found: Vec<_> = all().iter().flat_map(|query| problems(query, &metrics)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));

    // The check itself finds each of these errors.
    for (wrong, problem) in [
        ("voting_vote_total", "there is no metric voting_vote_total"),
        ("sum(rate(voting_votes_total{outcome=\"count\"}[1m]))", "has no outcome \"count\""),
        ("sum(rate(voting_votes_total{outcome!=\"invalids\"}[1m]))", "has no outcome \"invalids\""),
        ("voting_votes_total{outcome=~\"counted|refusd\"}", "has no outcome \"refusd\""),
        ("voting_votes_total{outcomes=\"counted\"}", "has no label outcomes"),
        ("sum by (releases) (voting_viewers)", "has the label releases"),
        ("voting_viewers unless on (kind) voting_build_info", "has the label kind"),
    ] {
        let (place, text) = (String::new(), wrong.to_owned());
        let found = problems(&Query { place, text, is_answered: true, legend: Vec::new() }, &metrics);
        assert!(found.iter().any(|found| found.contains(problem)), "{wrong}: {found:?}");
    }

    let documentation = read("docs/operations.md");
    let histogram = Regex::new("_(bucket|sum|count)$").unwrap();
    let missing: BTreeSet<_> = metrics.0.keys().map(|name| histogram.replace(name, "")).collect();
    let missing: Vec<_> =
        missing.iter().filter(|name| !documentation.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/operations.md lacks {missing:?}");

    // The PodMonitor keeps all metrics of the services.
    let keep = &pod_monitor().spec.pod_metrics_endpoints[0].metric_relabelings[0].regex;
    let keep = Regex::new(&format!("^(?:{keep})$")).unwrap();
    let dropped: Vec<_> = metrics.0.keys().filter(|name| !keep.is_match(name)).collect();
    assert!(dropped.is_empty(), "{dropped:?}");
}
