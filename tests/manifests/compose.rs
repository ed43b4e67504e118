//! `docker compose up` in each step: hardened and isolated containers, start-up order, no passwords in files.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use crate::images::released_images;
use crate::parse::{Document, documents};
use crate::{read, root};

/// A YAML file with resolved anchors and merges.
pub fn yaml(path: &str) -> Value {
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&read(path)).expect(path);
    // A pass resolves one level. (A transfer is a job, and a job is hardened.)
    for _ in 0..3 {
        value.apply_merge().expect(path);
    }
    serde_json::to_value(value).expect(path)
}

pub fn services() -> BTreeMap<String, Value> {
    serde_json::from_value(yaml("docker/compose/services.yaml")["services"].clone()).expect("services")
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().expect("a text").to_owned()).collect(),
        Value::Object(map) => map.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

fn members(network: &str) -> BTreeSet<String> {
    let on =
        services().into_iter().filter(|(_, service)| strings(&service["networks"]).contains(&network.into()));
    on.map(|(name, _)| name).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn every_container_is_hardened() {
    let allowed = set(&[
        "restart",
        "read_only",
        "cap_drop",
        "security_opt",
        "pids_limit",
        "logging",
        "stop_grace_period",
        "mem_limit",
        "image",
        "build",
        "pull_policy",
        "user",
        "scale",
        "command",
        "entrypoint",
        "environment",
        "ports",
        "volumes",
        "tmpfs",
        "networks",
        "network_mode",
        "healthcheck",
        "depends_on",
        "profiles",
    ]);
    for (name, service) in services() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], serde_json::json!(["no-new-privileges:true"]), "{name}");
        assert!(service["pids_limit"].is_u64(), "{name}");
        let is_job = service["restart"] == "no";
        assert!(is_job || service["restart"] == "unless-stopped", "{name}");
        assert!(is_job || service["mem_limit"].is_string(), "{name} may take all memory");
        for key in strings(&service) {
            assert!(allowed.contains(&key), "{name}: does {key} give rights?");
        }
        let network = &service["network_mode"];
        assert!(network.is_null() || network == "none", "{name}: {network}");
        for volume in strings(&service["volumes"]) {
            let is_named = !volume.starts_with(['.', '/', '~']);
            assert!(
                is_named || volume.starts_with("./docker/envoy/") && volume.ends_with(":ro"),
                "{name}: {volume}"
            );
        }
    }
}

#[test]
fn only_the_gateway_and_the_picture_have_a_port_and_only_on_this_machine() {
    for (name, service) in services() {
        let ports = strings(&service["ports"]);
        match name.as_str() {
            "gateway" => assert_eq!(ports, ["127.0.0.1:${GATEWAY_PORT:-8080}:8080"]),
            "load" => assert_eq!(ports, ["127.0.0.1:${SPLIT_PORT:-8090}:8090"]),
            _ => assert!(ports.is_empty(), "{name}: {ports:?}"),
        }
    }
}

#[test]
fn no_password_is_in_a_file_and_that_of_root_is_not_shared() {
    let with_password = Regex::new("://[^/@]*:[^/@]*@").expect("a regex");
    for (name, service) in services() {
        for (variable, value) in service["environment"].as_object().into_iter().flatten() {
            let is_password = variable.contains("PASSWORD");
            assert!(!is_password || variable.ends_with("_FILE"), "{name}: {variable}");
            let value = value.to_string();
            assert!(!with_password.is_match(&value), "{name}: {variable}");
            let is_roots = value.contains("root-password") || variable.contains("ROOT");
            assert!(!is_roots || name == "voting-storage-2-0", "{name}: {variable}");
        }
        let volumes = strings(&service["volumes"]);
        let has_roots = volumes.iter().any(|volume| volume.starts_with("root-password:"));
        assert_eq!(has_roots, ["voting-storage-2-0", "passwords"].contains(&name.as_str()), "{name}");
        for volume in volumes.iter().filter(|volume| volume.contains("password:")) {
            assert!(volume.ends_with(":ro") || name == "passwords", "{name} may change {volume}");
        }
    }
}

#[test]
fn a_store_is_reachable_by_its_release_only() {
    let networks = &yaml("docker/compose/services.yaml")["networks"];
    for (store, members_of_it) in [
        ("storage-1-0", set(&["voting-app-1-0", "voting-analytics-1-0", "voting-analytics-1-1"])),
        ("storage-2-0", set(&["voting-app-2-0", "voting-analytics-2-0", "migrate"])),
    ] {
        assert_eq!(networks[store]["internal"], true, "{store} reaches the outside");
        let name = format!("voting-{store}");
        assert_eq!(strings(&services()[&name]["networks"]), [store]);
        let others = set(&[&name, "transfer", "transfer-back"]);
        assert_eq!(members(store), members_of_it.union(&others).cloned().collect(), "{store}");
    }
}

#[test]
fn services_start_after_their_dependencies_are_healthy() {
    let services = services();
    for (name, service) in &services {
        let needed: BTreeMap<String, Value> =
            serde_json::from_value(service["depends_on"].clone()).unwrap_or_default();
        for (other, need) in &needed {
            let other_is_job = services[other]["restart"] == "no";
            let condition = if other_is_job { "service_completed_successfully" } else { "service_healthy" };
            assert_eq!(need["condition"], condition, "{name} on {other}");
        }
        // An image of another version may lack a check of its own.
        let is_job = service["restart"] == "no";
        let check = &service["healthcheck"]["test"];
        assert_eq!(check.is_array(), !is_job, "{name}");
        if !is_job && service["build"].is_object() {
            assert_eq!(*check, serde_json::json!(["CMD", service["build"]["target"], "check"]), "{name}");
        }
        // Upstreams start first; the gateway waits for the apps.
        for (variable, value) in service["environment"].as_object().into_iter().flatten() {
            for other in
                services.keys().filter(|other| *other != "gateway" && value.to_string().contains(*other))
            {
                let waits = needed.contains_key(other) || needed.contains_key("migrate");
                assert!(waits, "{name}: {variable} names {other}, which need not be there");
            }
        }
    }
}

#[test]
fn the_stores_equal_those_of_the_manifests_and_keep_their_data() {
    let services = services();
    for (file, store, volume) in [
        ("k8s/step-1-create-voting-app.yaml", "voting-storage-1-0", "redis:/data"),
        ("k8s/step-3-update-voting-app-with-new-storage.yaml", "voting-storage-2-0", "mysql:/var/lib/mysql"),
    ] {
        let is_it = |one: &Document| one.key == format!("deployment.apps/{store}");
        let document = documents(file).into_iter().find(is_it).expect(store);
        let container = document.at("/spec/template/spec/containers/0").expect("a container");
        assert_eq!(services[store]["image"], container["image"]);
        assert!(strings(&services[store]["volumes"]).contains(&volume.to_owned()), "{store} loses its data");
        // The manifest uses a subfolder of the volume, because the root of a disk may contain other files.
        let arguments = strings(&container["args"]).into_iter().filter(|one| !one.starts_with("--datadir="));
        let command = strings(&services[store]["command"]);
        let command: Vec<_> = command.into_iter().filter(|one| one != "redis-server").collect();
        assert_eq!(command, arguments.collect::<Vec<_>>(), "{store}");
    }
}

#[test]
fn each_step_defines_its_services_and_routes() {
    let file = read("docker/compose/services.yaml");
    let variable = Regex::new(r"\$\{([A-Z0-9_]+)\}").expect("a regex");
    let used: BTreeSet<_> = variable.captures_iter(&file).map(|found| found[1].to_owned()).collect();
    let include = &yaml("compose.yaml")["include"][0];
    assert_eq!(include["env_file"], "docker/compose/step-${STEP:-3}.env");
    for (step, running, routes) in [
        ("1", ["APP_1_0", "ANALYTICS_1_0"].as_slice(), "everybody-to-1.0.yaml"),
        ("2", &["APP_1_0", "ANALYTICS_1_0", "ANALYTICS_1_1"], "everybody-to-1.0.yaml"),
        ("2-locked", &["APP_1_0", "ANALYTICS_1_1"], "everybody-to-1.0.yaml"),
        ("3", &["APP_1_0", "ANALYTICS_1_1", "APP_2_0", "ANALYTICS_2_0", "MYSQL"], "by-cookie.yaml"),
        ("4", &["APP_2_0", "ANALYTICS_2_0", "MYSQL"], "everybody-to-2.0.yaml"),
    ] {
        let text = read(&format!("docker/compose/step-{step}.env"));
        let settings: BTreeMap<_, _> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .collect();
        assert_eq!(settings.keys().map(ToString::to_string).collect::<BTreeSet<_>>(), used, "step {step}");
        assert_eq!(settings["ROUTES"], routes, "step {step}");
        assert!(root().join("docker/envoy").join(routes).is_file(), "{routes}");
        for (name, value) in settings.iter().filter(|(name, _)| **name != "ROUTES") {
            assert_eq!(*value, if running.contains(name) { "1" } else { "0" }, "step {step}: {name}");
        }
    }
    assert_eq!(std::fs::read_dir(root().join("docker/compose")).expect("the folder").count(), 6);
}

#[test]
fn every_image_of_the_release_table_is_built_and_started() {
    let mut seen = BTreeSet::new();
    for (name, service) in services() {
        let Some(image) = service["image"].as_str().filter(|image| image.starts_with("voting-")) else {
            continue;
        };
        seen.insert(image.to_owned());
        // Not from a registry, which may have something else of that name, and not an older one of this machine.
        assert_eq!(service["pull_policy"], "build", "{name}");
        let (program, tag) = image.split_once(':').expect("a tag");
        let build = &service["build"];
        assert_eq!((&build["target"], &build["args"]["RELEASE"]), (&program.into(), &tag.into()), "{name}");
        let args = build["args"].as_object().expect("arguments");
        assert_eq!(args.get("PROFILE"), Some(&Value::Null), "{name}: from the environment, if it is there");
    }
    assert_eq!(seen, released_images().into_iter().collect());
}
