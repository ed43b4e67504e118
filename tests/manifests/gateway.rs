//! The gateway of `docker compose up` routes as the mesh does in the same step.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use voting_http::feature_flag::COOKIE_REGEX;
use voting_http::server::ClientLimits;

use crate::compose::{services, yaml};
use crate::istio::{HttpRoute, Resource, VirtualService};
use crate::parse::documents;

/// Steps with different routes: the file for the gateway and the file for the mesh.
const STEPS: [(&str, &str); 3] = [
    ("everybody-to-1.0", "istio/step-3-way-back-everybody-to-1.0.yaml"),
    ("by-cookie", "istio/step-3-add-routing-for-2.0-components.yaml"),
    ("everybody-to-2.0", "istio/step-4-route-everybody-to-2.0.yaml"),
];

fn routes(step: &str) -> Value {
    yaml(&format!("docker/envoy/{step}.yaml"))["resources"][0]["virtual_hosts"][0].clone()
}

fn mesh(file: &str) -> Vec<HttpRoute> {
    let is_app = |key: &str| key == "virtualservice.networking.istio.io/voting-app";
    let service = documents(file).into_iter().find(|one| is_app(&one.key)).expect(file);
    service.typed::<Resource<VirtualService>>().spec.http
}

#[test]
fn each_step_routes_as_the_mesh_does() {
    for (step, file) in STEPS {
        let host = routes(step);
        assert_eq!(host["domains"], serde_json::json!(["*"]), "{step}");
        let (routes, mesh) = (host["routes"].as_array().expect("routes"), mesh(file));
        assert_eq!(routes.len(), mesh.len(), "{step}");
        for (route, other) in routes.iter().zip(mesh) {
            assert_eq!(route["name"], other.name, "{step}");
            let subset = other.route[0].destination.subset.as_deref().expect("a subset");
            let cluster = format!("voting-app-{}", subset.trim_start_matches('v'));
            // Event streams have no timeout, as by default in the mesh.
            assert_eq!(route["route"], serde_json::json!({"cluster": cluster, "timeout": "0s"}), "{step}");
            // As Istio translates a status.
            let retry_on = other.retries.retry_on.replace("503", "retriable-status-codes");
            assert_eq!(host["retry_policy"]["retry_on"], retry_on, "{step}");
            assert_eq!(host["retry_policy"]["retriable_status_codes"], serde_json::json!([503]), "{step}");
            let header = &route["match"]["headers"][0];
            let cookie = other.matches.first().map(|one| one.headers["cookie"].regex.as_str());
            assert_eq!(header["string_match"]["safe_regex"]["regex"].as_str(), cookie, "{step}");
            assert!(
                cookie.is_none_or(|cookie| cookie == COOKIE_REGEX && header["name"] == "cookie"),
                "{step}"
            );
        }
    }
    assert!(mesh(STEPS[1].1).iter().any(|route| !route.matches.is_empty()), "no step looks at the cookie");
}

#[test]
fn clusters_are_services_and_end_idle_connections_before_the_services_do() {
    let config = yaml("docker/envoy/gateway.yaml");
    let services = services();
    let mut names = BTreeSet::new();
    for cluster in config["static_resources"]["clusters"].as_array().expect("clusters") {
        names.insert(cluster["name"].as_str().expect("a name").to_owned());
        assert_eq!(cluster["name"], cluster["load_assignment"]["cluster_name"]);
        for endpoint in
            cluster["load_assignment"]["endpoints"][0]["lb_endpoints"].as_array().expect("endpoints")
        {
            let address = &endpoint["endpoint"]["address"]["socket_address"];
            assert!(services.contains_key(address["address"].as_str().expect("a host")), "{address}");
            assert_eq!(address["port_value"], 8080);
        }
        let options =
            "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let options = cluster.pointer(options).expect("options");
        let idle =
            options["common_http_protocol_options"]["idle_timeout"].as_str().expect("an idle time-out");
        let seconds: u64 = idle.trim_end_matches('s').parse().expect("seconds");
        assert!(Duration::from_secs(seconds) < ClientLimits::default().timeout, "{}", cluster["name"]);
    }
    let app_1_0 = &services["voting-app-1-0"]["environment"]["ANALYTICS_URL"];
    assert_eq!(app_1_0, "http://gateway:8081");
    assert_eq!(
        config["admin"]["address"]["socket_address"]["address"], "127.0.0.1",
        "the admin port is inside"
    );
    for (step, _) in STEPS {
        for route in routes(step)["routes"].as_array().expect("routes") {
            let cluster = route["route"]["cluster"].as_str().expect("a cluster");
            assert!(names.contains(cluster), "{step}: there is no cluster {cluster}");
        }
    }
}
