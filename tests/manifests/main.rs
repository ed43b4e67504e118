//! The manifests of `k8s/`, `istio/`, `gateway-api/` and `docker/`, and the tutorial that applies them.
//!
//! - [`parse`]: strict parsing with the types of Kubernetes and Istio.
//! - [`steps`]: the resources after each step of the tutorial, and the output of `kubectl apply`.
//! - [`routing`]: consistency of routes, subsets, services and ports after each step.
//! - [`pods`]: security, resources, probes and references of every pod.
//! - [`images`]: image tags, and builds.
//! - [`compose`]: the services of `docker compose up`. [`gateway`]: its routes.
//! - [`mesh_faults`]: the faults that the mesh injects in a rehearsal. [`mirror`]: the copies of page views in step 2b.
//! - [`diagrams`]: the pictures of the steps.
//! - [`gateway_api`]: the routes of the Gateway API, compared with those of Istio.
//! - [`doctor`]: the script that checks a cluster, without one.
//! - [`rollouts`]: the automated canary. [`load`]: the voters.
//! - [`rehearsals`]: the exercises.
//! - [`tutorial`]: the commands and file names of `docs/tutorial.md`.
//!
//! `tests/mesh` checks the same files with Istio itself.

mod compose;
mod diagrams;
mod doctor;
mod gateway;
mod gateway_api;
mod images;
mod istio;
mod load;
mod mesh_faults;
mod mirror;
mod parse;
mod pods;
mod rehearsals;
mod reliability;
mod rollouts;
mod routing;
mod steps;
mod tutorial;

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads a file of the repository.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The paths of the manifests of all steps.
fn manifests() -> Vec<String> {
    let mut paths = Vec::new();
    for folder in ["k8s", "istio", "gateway-api"] {
        for entry in
            std::fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"))
        {
            let name = entry.expect("a folder can be read").file_name();
            let name = name.to_str().expect("a file's name is UTF-8");
            if name.ends_with(".yaml") {
                paths.push(format!("{folder}/{name}"));
            }
        }
    }
    paths.sort();
    assert!(paths.len() >= 12, "some manifests are missing: {paths:?}");
    paths
}
