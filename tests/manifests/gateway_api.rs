//! The part of the Gateway API that the manifests use, and their consistency with those of Istio's own API. Unknown fields are
//! errors.
//!
//! `tests/mesh` reads the same files with Istio's own code and the schemas of several releases.

#![allow(dead_code, reason = "a field that is only there to be parsed strictly")]

use serde::Deserialize;
use voting_http::feature_flag::COOKIE_REGEX;
use voting_tests::tutorial::Track;

use crate::istio::{DestinationRule, HttpRoute as Route, Resource, VirtualService};
use crate::manifests;
use crate::parse::{Document, documents, labels};
use crate::routing::of_kind;
use crate::steps::{Cluster, applied_on};

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Gateway {
    gateway_class_name: String,
    infrastructure: Infrastructure,
    listeners: Vec<Listener>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Infrastructure {
    parameters_ref: Reference,
}

/// A reference to a resource of the same namespace. All of its fields are required, because defaults are written out.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    group: String,
    kind: String,
    name: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Listener {
    name: String,
    port: u16,
    protocol: String,
    allowed_routes: AllowedRoutes,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct AllowedRoutes {
    namespaces: Namespaces,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Namespaces {
    from: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpRoute {
    parent_refs: Vec<Parent>,
    rules: Vec<Rule>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Parent {
    group: String,
    kind: String,
    name: String,
    port: Option<u16>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Rule {
    matches: Vec<Match>,
    #[serde(default)]
    filters: Vec<RuleFilter>,
    backend_refs: Vec<Backend>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RuleFilter {
    #[serde(rename = "type")]
    kind: String,
    request_mirror: Mirror,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Mirror {
    backend_ref: MirrorBackend,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct MirrorBackend {
    group: String,
    kind: String,
    name: String,
    port: u16,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Match {
    path: PathMatch,
    method: Option<String>,
    #[serde(default)]
    headers: Vec<HeaderMatch>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct PathMatch {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct HeaderMatch {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    value: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Backend {
    group: String,
    kind: String,
    name: String,
    port: u16,
    weight: u32,
    #[serde(default)]
    filters: Vec<Filter>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Filter {
    #[serde(rename = "type")]
    kind: String,
    response_header_modifier: HeaderChanges,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct HeaderChanges {
    add: Vec<Header>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    value: String,
}

const HTTP_ROUTE: &str = "httproute.gateway.networking.k8s.io";

fn routes(cluster: &Cluster) -> Vec<Resource<HttpRoute>> {
    of_kind(cluster, HTTP_ROUTE).map(Document::typed).collect()
}

#[test]
fn routes_name_parents_services_and_ports_that_exist() {
    let mut backends = 0;
    for step in applied_on(Track::GatewayApi) {
        // The last document of step 1 is the gateway.
        if step.file.starts_with("k8s/step-1") {
            continue;
        }
        for route in routes(&step.cluster) {
            let place = format!("after {}: {}", step.file, route.metadata.name);
            for parent in &route.spec.parent_refs {
                let key = match (&*parent.group, &*parent.kind) {
                    ("", "Service") => format!("service/{}", parent.name),
                    (group, "Gateway") => format!("gateway.{group}/{}", parent.name),
                    other => panic!("{place}: a parent {other:?}"),
                };
                assert!(step.cluster.contains_key(&key), "{place}: there is no {key}");
            }
            for backend in route.spec.rules.iter().flat_map(|rule| &rule.backend_refs) {
                backends += 1;
                assert_eq!((&*backend.group, &*backend.kind), ("", "Service"), "{place}");
                let service = step.cluster.get(&format!("service/{}", backend.name));
                let service = service.unwrap_or_else(|| panic!("{place}: there is no {}", backend.name));
                assert_eq!(service.at("/spec/ports/0/port"), Some(&backend.port.into()), "{place}");
            }
        }
    }
    assert!(backends > 20, "only {backends}");
}

/// A service for a release selects the pods of that release alone, as the subset of the same name does.
#[test]
fn a_service_of_a_release_selects_its_pods() {
    let mut services = 0;
    for document in documents("gateway-api/step-1-create-voting-app-gateway.yaml") {
        if !document.key.starts_with("service/") {
            continue;
        }
        services += 1;
        let selector = labels(document.at("/spec/selector"));
        let name = format!("{}-{}", selector["app"], selector["version"].replace('.', "-"));
        assert_eq!((document.name(), selector.len()), (&*name, 2));
        let mut own = labels(document.at("/metadata/labels"));
        assert_eq!(own.remove("track"), Some("gateway-api".to_owned()));
        assert_eq!(own, selector);
    }
    assert_eq!(services, 4);
}

/// The release that a target of either track stands for: `v2-0`, `voting-app-2-0`.
fn release(target: &str) -> &str {
    &target[target.len() - 3..]
}

/// What a rule does, whichever API it is written in.
#[derive(Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The cookie that it matches.
    pub cookie: Option<String>,
    /// Method and path that it matches; `None`: all.
    pub of: Option<[String; 2]>,
    /// The release that gets a copy.
    pub mirror: Option<String>,
    /// Each target's release, share, and cookie.
    pub targets: Vec<(String, Option<u32>, Option<String>)>,
}

/// The rules of the browsers in a file of either track; `None` if it has none.
pub fn browsers_routes(path: &str) -> Option<Vec<Meaning>> {
    let documents = documents(path);
    let find = |key: &str| documents.iter().find(|one| one.key == key);
    if let Some(api) = find(&format!("{HTTP_ROUTE}/voting-app")) {
        return Some(api.typed::<Resource<HttpRoute>>().spec.rules.iter().map(of_rule).collect());
    }
    let istio = find("virtualservice.networking.istio.io/voting-app")?;
    Some(istio.typed::<Resource<VirtualService>>().spec.http.iter().map(of_route).collect())
}

#[test]
fn the_browsers_routes_are_those_of_istio() {
    let mut compared = 0;
    for path in manifests().iter().filter(|path| path.starts_with("gateway-api/step-")) {
        // In step 1, all releases, because there is only one.
        if !path.contains("/step-1-") {
            let api = browsers_routes(path);
            assert_eq!(api, browsers_routes(&path.replace("gateway-api/", "istio/")), "{path}");
            compared += u64::from(api.is_some());
        }
    }
    assert_eq!(compared, 6);
}

fn of_route(route: &Route) -> Meaning {
    let one = route.matches.first();
    let targets = route.route.iter().map(|target| {
        let cookie = target.headers.as_ref().map(|headers| headers.response.add["set-cookie"].clone());
        let subset = target.destination.subset.as_deref().expect("a subset");
        (release(subset).to_owned(), target.weight, cookie)
    });
    let mirror = route.mirror.as_ref().map(|mirror| {
        assert_eq!(route.mirror_percentage.as_ref().map(|share| share.value), Some(100.0));
        release(mirror.subset.as_deref().expect("a subset")).to_owned()
    });
    Meaning {
        cookie: one.and_then(|one| Some(one.headers.get("cookie")?.regex.clone())),
        of: one.and_then(|one| Some([one.method.as_ref()?.exact.clone(), one.uri.as_ref()?.exact.clone()])),
        mirror,
        targets: targets.collect(),
    }
}

fn of_rule(rule: &Rule) -> Meaning {
    let [one] = &rule.matches[..] else { panic!("{rule:?}") };
    let path = (&*one.path.kind, &*one.path.value);
    assert_eq!(path, (if one.method.is_some() { "Exact" } else { "PathPrefix" }, "/"));
    let cookie = one.headers.first().map(|header| {
        assert_eq!((&*header.kind, &*header.name), ("RegularExpression", "cookie"));
        header.value.clone()
    });
    let mirror = rule.filters.first().map(|filter| {
        let backend = &filter.request_mirror.backend_ref;
        let to = (&*filter.kind, &*backend.group, &*backend.kind, backend.port);
        assert_eq!(to, ("RequestMirror", "", "Service", 8080));
        release(&backend.name).to_owned()
    });
    let is_only = rule.backend_refs.len() == 1;
    let targets = rule.backend_refs.iter().map(|backend| {
        let cookie = backend.filters.first().map(|filter| {
            assert_eq!(filter.kind, "ResponseHeaderModifier");
            let [header] = &filter.response_header_modifier.add[..] else { panic!("{filter:?}") };
            assert_eq!(header.name, "set-cookie");
            header.value.clone()
        });
        (release(&backend.name).to_owned(), (!is_only).then_some(backend.weight), cookie)
    });
    let of = one.method.as_ref().map(|method| [method.clone(), one.path.value.clone()]);
    Meaning { cookie, of, mirror, targets: targets.collect() }
}

#[test]
fn the_flag_is_that_of_the_code() {
    let files = ["step-3-add-routing-for-2.0-components", "step-3b-widen-canary-to-10-percent"];
    for file in files {
        let routes = browsers_routes(&format!("gateway-api/{file}.yaml")).expect("routes");
        assert_eq!(routes[0].cookie.as_deref(), Some(COOKIE_REGEX), "{file}");
    }
}

/// Outside of the namespace, a rule for all of its services would have sidecars send mutual TLS to the gateway, which is plain
/// HTTP.
#[test]
fn a_rule_for_all_services_is_for_the_pods_of_the_namespace_alone() {
    let all: Vec<_> = manifests().iter().flat_map(|path| documents(path)).collect();
    let rules = all.iter().filter(|document| document.key.starts_with("destinationrule."));
    let rules: Vec<Resource<DestinationRule>> = rules.map(Document::typed).collect();
    let of_all: Vec<_> = rules.iter().filter(|rule| rule.spec.host.starts_with('*')).collect();
    assert_eq!(of_all.len(), 1);
    assert_eq!(of_all[0].spec.export_to, ["."]);
}

/// What belongs to one track alone has its label, so that the other track can leave it out, and a change of the track remove it.
#[test]
fn documents_of_one_track_have_its_label() {
    let mut shared = Vec::new();
    for path in manifests() {
        for document in documents(&path) {
            let labels = labels(document.at("/metadata/labels"));
            let track = labels.get("track").map(String::as_str);
            let folder = path.split('/').next().unwrap_or_default();
            match (folder, track) {
                ("k8s", None) | ("istio" | "gateway-api", Some(_)) => {
                    assert!(track.is_none_or(|track| track == folder), "{path}: {}", document.key);
                }
                ("istio", None) => shared.push(document.key),
                _ => panic!("{path}: {} has the label {track:?}", document.key),
            }
        }
    }
    // Istio's file has the policies of both tracks: everything but the callers of the app.
    shared.sort();
    assert_eq!(
        shared,
        [
            "authorizationpolicy.security.istio.io/deny-all",
            "authorizationpolicy.security.istio.io/voting-analytics-1-0",
            "authorizationpolicy.security.istio.io/voting-analytics-1-1",
            "authorizationpolicy.security.istio.io/voting-analytics-2-0",
            "authorizationpolicy.security.istio.io/voting-storage-1-0",
            "authorizationpolicy.security.istio.io/voting-storage-2-0",
            "authorizationpolicy.security.istio.io/voting-storage-transfer",
            "peerauthentication.security.istio.io/default",
        ]
    );
}

/// Both tracks lead to the same resources but for those with a track's label.
#[test]
fn both_tracks_share_everything_else() {
    let common = |track| {
        let mut last = applied_on(track).pop().expect("steps").cluster;
        last.retain(|_, document| !labels(document.at("/metadata/labels")).contains_key("track"));
        last
    };
    let (istio, api) = (common(Track::Istio), common(Track::GatewayApi));
    assert_eq!(istio.keys().collect::<Vec<_>>(), api.keys().collect::<Vec<_>>());
    assert!(istio == api);
}
