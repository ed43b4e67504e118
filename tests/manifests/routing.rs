//! Consistency of routes, subsets, services and ports after every applied file.

use std::collections::BTreeSet;

use voting_http::feature_flag::COOKIE_REGEX;

use crate::istio::{AuthorizationPolicy, Destination, DestinationRule, Labels, Resource, VirtualService};
use crate::parse::{Document, documents, labels};
use crate::steps::{Cluster, applied};
use crate::{manifests, root};

pub fn of_kind<'a>(cluster: &'a Cluster, kind: &'a str) -> impl Iterator<Item = &'a Document> {
    cluster.values().filter(move |document| document.key.split('/').next() == Some(kind))
}

pub fn virtual_services(cluster: &Cluster) -> Vec<Resource<VirtualService>> {
    of_kind(cluster, "virtualservice.networking.istio.io").map(Document::typed).collect()
}

fn destinations(service: &VirtualService) -> Vec<&Destination> {
    let http = service.http.iter().flat_map(|route| &route.route);
    let tcp = service.tcp.iter().flat_map(|route| &route.route);
    http.chain(tcp).map(|target| &target.destination).collect()
}

pub fn pods(cluster: &Cluster) -> Vec<(String, Labels)> {
    of_kind(cluster, "deployment.apps")
        .map(|document| (document.name().to_owned(), labels(document.at("/spec/template/metadata/labels"))))
        .collect()
}

pub fn matches(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

pub fn subset_labels(cluster: &Cluster, host: &str, subset: &str) -> Option<Labels> {
    let rule = cluster.get(&format!("destinationrule.networking.istio.io/{host}"))?;
    let rule: Resource<DestinationRule> = rule.typed();
    assert_eq!(rule.spec.host, host, "{}", rule.metadata.name);
    rule.spec.subsets.into_iter().find(|one| one.name == subset).map(|one| one.labels)
}

#[test]
fn routes_name_services_ports_and_subsets_that_exist() {
    for step in applied() {
        for service in virtual_services(&step.cluster) {
            for destination in destinations(&service.spec) {
                let place = format!("after {}: {} to {destination:?}", step.file, service.metadata.name);
                let target = step.cluster.get(&format!("service/{}", destination.host));
                let target = target.unwrap_or_else(|| panic!("{place}: there is no such service"));
                let ports = target.at("/spec/ports").and_then(|ports| ports.as_array()).expect("ports");
                let has_port = ports.iter().any(|port| port["port"] == destination.port.number);
                // The routing of 2.0 is applied before its pods and its port.
                let is_early = step.file.starts_with("istio/step-3-add")
                    && !step.cluster.contains_key("deployment.apps/voting-storage-2-0")
                    && destination.port.number == 3306;
                assert!(has_port || is_early, "{place}: there is no such port");
                if let Some(subset) = &destination.subset {
                    let found = subset_labels(&step.cluster, &destination.host, subset);
                    assert!(found.is_some(), "{place}: there is no such subset");
                }
            }
        }
    }
}

#[test]
fn subsets_match_the_pods_of_one_workload() {
    for step in applied() {
        let has_2_0 = step.cluster.contains_key("deployment.apps/voting-app-2-0");
        for service in virtual_services(&step.cluster) {
            for destination in destinations(&service.spec) {
                let Some(subset) = &destination.subset else {
                    continue;
                };
                // The subsets of 2.0 are empty until its pods exist; no browser is routed to them before.
                if !has_2_0 && subset == "v2-0" {
                    assert_ne!(destination.host, "voting-app", "after {}", step.file);
                    continue;
                }
                let mut selector =
                    subset_labels(&step.cluster, &destination.host, subset).expect("the subset is there");
                selector.extend(labels(
                    step.cluster[&format!("service/{}", destination.host)].at("/spec/selector"),
                ));
                let pods = pods(&step.cluster);
                let selected: Vec<_> = pods.iter().filter(|(_, labels)| matches(&selector, labels)).collect();
                assert_eq!(selected.len(), 1, "after {}: {destination:?} selects {selected:?}", step.file);
            }
        }
    }
}

#[test]
fn every_http_service_ends_with_a_default_route_and_every_tcp_match_has_a_port() {
    for path in manifests() {
        for document in documents(&path).iter().filter(|one| one.key.starts_with("virtualservice")) {
            let service: Resource<VirtualService> = document.typed();
            let place = format!("{path}: {}", document.key);
            let defaults: Vec<bool> =
                service.spec.http.iter().map(|route| route.matches.is_empty()).collect();
            let last = defaults.len().saturating_sub(1);
            for (index, is_default) in defaults.iter().enumerate() {
                assert_eq!(*is_default, index == last, "{place}: the default route is not the last");
            }
            for route in &service.spec.tcp {
                assert!(!route.matches.is_empty(), "{place}: a TCP route without a match");
                for one in &route.matches {
                    let port = one.port.unwrap_or_else(|| panic!("{place}: a TCP match without a port"));
                    for target in &route.route {
                        assert_eq!(target.destination.port.number, port, "{place}: from one port to another");
                    }
                }
            }
            assert!(!defaults.is_empty() || !service.spec.tcp.is_empty(), "{place}: no route");
        }
    }
}

#[test]
fn requests_that_a_proxy_could_not_deliver_are_retried() {
    for path in manifests() {
        for document in documents(&path).iter().filter(|one| one.key.starts_with("virtualservice")) {
            for route in document.typed::<Resource<VirtualService>>().spec.http {
                assert_eq!(
                    route.retries.retry_on, "connect-failure,refused-stream,503",
                    "{path}: {}",
                    route.name
                );
            }
        }
    }
}

#[test]
fn the_cookie_rule_is_the_one_of_the_code() {
    let mut seen = 0;
    for path in manifests() {
        for document in documents(&path).iter().filter(|one| one.key.starts_with("virtualservice")) {
            for route in document.typed::<Resource<VirtualService>>().spec.http {
                for regex in route.matches.iter().filter_map(|one| one.headers.get("cookie")) {
                    // The cookies of the cohorts have the same rule.
                    let cookie = match route.name.as_str() {
                        "flag" => "featureflag=on".to_owned(),
                        "drawn-1-0" => r"votingcanary=1\.0".to_owned(),
                        "drawn-2-0" => r"votingcanary=2\.0".to_owned(),
                        other => panic!("{path}: what does {other} match?"),
                    };
                    assert_eq!(
                        regex.regex,
                        COOKIE_REGEX.replace("featureflag=on", &cookie),
                        "{path}: {}",
                        route.name
                    );
                    seen += 1;
                }
            }
        }
    }
    assert_eq!(seen, 4, "the flag in steps 3 and 3b, and the two sides of the draw");
}

#[test]
fn weights_add_up_and_each_side_sets_its_cookie() {
    let document = documents("istio/step-3b-widen-canary-to-10-percent.yaml").remove(0);
    let service: Resource<VirtualService> = document.typed();
    let draw = &service.spec.http.last().expect("a route").route;
    let weights: Vec<_> = draw.iter().map(|target| target.weight).collect();
    assert_eq!(weights, [Some(90), Some(10)]);
    for (target, release) in draw.iter().zip(["1.0", "2.0"]) {
        let cookie = &target.headers.as_ref().expect("headers").response.add["set-cookie"];
        assert!(cookie.starts_with(&format!("votingcanary={release}; Path=/; ")), "{cookie}");
        assert_eq!(target.destination.subset, Some(format!("v{}", release.replace('.', "-"))));
    }
}

#[test]
fn permissions_name_accounts_pods_and_ports_that_exist() {
    // The gateways of `istioctl install` and of the add-on.
    let outside = [
        "istio-system/istio-ingressgateway-service-account",
        "aks-istio-ingress/aks-istio-ingressgateway-external",
        // Of the gateway that Istio creates.
        "voting-app-gateway-istio",
    ];
    let last = all_that_is_ever_applied();
    let mut policies = 0;
    for document in of_kind(&last, "authorizationpolicy.security.istio.io") {
        let policy: Resource<AuthorizationPolicy> = document.typed();
        let Some(selector) = policy.spec.selector else {
            continue;
        };
        policies += 1;
        let selected: Vec<_> = of_kind(&last, "deployment.apps")
            .filter(|one| matches(&selector.match_labels, &pod_labels(one)))
            .collect();
        assert!(!selected.is_empty(), "{} selects nothing", document.key);
        for rule in policy.spec.rules {
            for account in rule.from.iter().flat_map(|from| &from.source.service_accounts) {
                let is_known = last.contains_key(&format!("serviceaccount/{account}"))
                    || outside.contains(&account.as_str());
                assert!(is_known, "{}: there is no service account {account}", document.key);
            }
            for port in rule.to.iter().flat_map(|to| &to.operation.ports) {
                let is_served = selected.iter().any(|one| container_ports(one).contains(port));
                assert!(is_served, "{}: no pod serves {port}", document.key);
            }
        }
    }
    assert_eq!(policies, 8);
}

fn pod_labels(workload: &Document) -> Labels {
    labels(workload.at("/spec/template/metadata/labels"))
}

fn container_ports(workload: &Document) -> BTreeSet<String> {
    let ports =
        workload.at("/spec/template/spec/containers/0/ports").and_then(|ports| ports.as_array().cloned());
    ports.unwrap_or_default().iter().map(|port| port["containerPort"].to_string()).collect()
}

/// The final version of every resource, including the ways back.
pub fn all_that_is_ever_applied() -> Cluster {
    let documents = manifests().into_iter().flat_map(|path| documents(&path));
    documents.map(|document| (document.key.clone(), document)).collect()
}

#[test]
fn services_reach_named_ports_that_pods_have_and_never_the_admin_port() {
    assert!(root().join("k8s").is_dir());
    for step in applied() {
        for service in of_kind(&step.cluster, "service") {
            let selector = labels(service.at("/spec/selector"));
            let workloads: Vec<_> = of_kind(&step.cluster, "deployment.apps")
                .filter(|one| matches(&selector, &pod_labels(one)))
                .collect();
            for port in service.at("/spec/ports").and_then(|ports| ports.as_array()).expect("ports") {
                let target = port["targetPort"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{}: a port by number", service.key));
                assert_ne!(target, "admin", "{}: the admin port is not for others", service.key);
                let named = |one: &&&Document| {
                    let ports =
                        one.at("/spec/template/spec/containers/0/ports").and_then(|ports| ports.as_array());
                    ports.is_some_and(|ports| ports.iter().any(|port| port["name"] == target))
                };
                let found = workloads.iter().filter(named).count();
                assert!(found > 0, "after {}: no pod has the port {target} of {}", step.file, service.key);
            }
        }
    }
}

#[test]
fn every_http_service_has_a_rule_that_ends_idle_connections_before_the_service_does() {
    let services_end_them_after = voting_http::server::ClientLimits::default().timeout;
    // The routes of step 1 complete the first release.
    for step in applied().iter().skip(1) {
        let rules: Vec<Resource<DestinationRule>> =
            of_kind(&step.cluster, "destinationrule.networking.istio.io").map(Document::typed).collect();
        for rule in &rules {
            assert_eq!(rule.spec.traffic_policy.tls.mode, "ISTIO_MUTUAL", "{}", rule.metadata.name);
        }
        for host in ["voting-app", "voting-analytics"] {
            // Istio merges the rules of a host, and the oldest one's traffic policy applies.
            let of_host: Vec<_> = rules.iter().filter(|rule| rule.spec.host == host).collect();
            assert!(!of_host.is_empty(), "after {}: no rule for {host}", step.file);
            for rule in of_host {
                let pool = rule.spec.traffic_policy.connection_pool.as_ref();
                let idle = &pool.expect("no connection pool").http.idle_timeout;
                let seconds = idle.strip_suffix('s').and_then(|idle| idle.parse().ok()).expect("no seconds");
                assert!(std::time::Duration::from_secs(seconds) < services_end_them_after, "{host}");
            }
        }
    }
}
