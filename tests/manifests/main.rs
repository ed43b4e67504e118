//! The manifests of `k8s/`, `istio/` and `docker/`, and the tutorial that applies them.
//!
//! - [`parse`]: every document strictly, against the types of Kubernetes and Istio.
//! - [`steps`]: what there is after each step of the tutorial, and what `kubectl apply` prints on the way.
//! - [`routing`]: routes, subsets, services and ports fit together after each step.
//! - [`pods`]: every pod is restricted, bounded, probed, and finds what it names.
//! - [`images`]: image tags against the release table, how images are built, and the command that sets the registry.
//! - [`compose`]: what `docker compose up` starts. [`gateway`]: its Envoy routes as the mesh does.
//! - [`tutorial`]: the commands and file names of `docs/tutorial.md`.
//!
//! What Istio itself makes of all this is asked in `tests/mesh`.

mod compose;
mod gateway;
mod images;
mod istio;
mod parse;
mod pods;
mod routing;
mod steps;
mod tutorial;

use std::path::{Path, PathBuf};

/// The repository's own directory.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A text file of the repository.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every manifest, the variants for AKS among them.
fn manifests() -> Vec<String> {
    let mut paths = Vec::new();
    for folder in ["k8s", "k8s/aks", "istio", "istio/aks"] {
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
