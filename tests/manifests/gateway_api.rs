//! The part of the Gateway API that the manifests use, and their consistency with those of Istio's own API. Unknown fields are
//! errors.
//!
//! `tests/mesh` reads the same files with Istio's own code and the schemas of several releases.

#![allow(dead_code, reason = "a field that is only there to be parsed strictly")]

use serde::Deserialize;
use voting_http::feature_flag::COOKIE_REGEX;
use voting_tests::tutorial::Track;

use crate::istio::{DestinationRule, Resource, VirtualService};
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
    backend_refs: Vec<Backend>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Match {
    path: PathMatch,
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

/// What a rule does, whichever API it is written in: the cookie that it matches, and each target's release, share, and cookie.
type Meaning = (Option<String>, Vec<(String, Option<u32>, Option<String>)>);

#[test]
fn the_browsers_routes_are_those_of_istio() {
    let mut compared = 0;
    for path in manifests().iter().filter(|path| path.starts_with("gateway-api/step-")) {
        let other = path.replace("gateway-api/", "istio/");
        let find = |path: &str, key: String| documents(path).into_iter().find(|one| one.key == key);
        let api = find(path, format!("{HTTP_ROUTE}/voting-app"));
        let istio = find(&other, "virtualservice.networking.istio.io/voting-app".to_owned());
        let (Some(api), Some(istio)) = (&api, &istio) else {
            assert_eq!(api.is_some(), istio.is_some(), "{path}");
            continue;
        };
        if path.contains("/step-1-") {
            // All releases, because there is only one.
            continue;
        }
        let api: Vec<Meaning> = api.typed::<Resource<HttpRoute>>().spec.rules.iter().map(meaning).collect();
        let istio = istio.typed::<Resource<VirtualService>>().spec.http;
        let istio = istio.iter().map(|route| {
            let cookie = route.matches.first().map(|one| one.headers["cookie"].regex.clone());
            let targets = route.route.iter().map(|target| {
                let cookie =
                    target.headers.as_ref().map(|headers| headers.response.add["set-cookie"].clone());
                let subset = target.destination.subset.as_deref().expect("a subset");
                (release(subset).to_owned(), target.weight, cookie)
            });
            (cookie, targets.collect())
        });
        assert_eq!(api, istio.collect::<Vec<Meaning>>(), "{path}");
        compared += 1;
    }
    assert_eq!(compared, 5);
}

fn meaning(rule: &Rule) -> Meaning {
    let [one] = &rule.matches[..] else { panic!("{rule:?}") };
    assert_eq!((&*one.path.kind, &*one.path.value), ("PathPrefix", "/"));
    let cookie = one.headers.first().map(|header| {
        assert_eq!((&*header.kind, &*header.name), ("RegularExpression", "cookie"));
        header.value.clone()
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
    (cookie, targets.collect())
}

#[test]
fn the_flag_is_that_of_the_code() {
    let files = ["step-3-add-routing-for-2.0-components", "step-3b-widen-canary-to-10-percent"];
    for file in files {
        let documents = documents(&format!("gateway-api/{file}.yaml"));
        let app = documents.iter().find(|one| one.key.ends_with("/voting-app")).expect(file);
        let first = meaning(&app.typed::<Resource<HttpRoute>>().spec.rules[0]);
        assert_eq!(first.0.as_deref(), Some(COOKIE_REGEX), "{file}");
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
