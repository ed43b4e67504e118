//! Image tags against the release table, and the command that sets the registry.

use std::collections::BTreeSet;
use std::process::Command;

use voting_service::release;

use crate::parse::{Document, documents, parse};
use crate::routing::all_that_is_ever_applied;
use crate::tutorial::blocks;
use crate::{manifests, root};

fn image(document: &Document) -> Option<String> {
    let image = document.at("/spec/template/spec/containers/0/image")?.as_str()?;
    Some(image.to_owned())
}

#[test]
fn every_image_of_the_release_table_is_used_and_no_other() {
    let used: BTreeSet<String> = all_that_is_ever_applied().values().filter_map(image).collect();
    let mut released: BTreeSet<String> = release::images().into_iter().collect();
    released.extend(["redis:8".to_owned(), "mysql:8.4".to_owned()]);
    assert_eq!(used, released);
}

#[test]
fn names_labels_and_images_tell_the_same_release() {
    for document in all_that_is_ever_applied().values().filter(|one| one.key.starts_with("deployment.")) {
        let label =
            |name: &str| document.at(&format!("/metadata/labels/{name}")).and_then(|value| value.as_str());
        let (component, version) = (label("app").expect("a component"), label("version").expect("a version"));
        assert_eq!(document.name(), format!("{component}-{}", version.replace('.', "-")));
        if component != "voting-storage" {
            assert_eq!(image(document), Some(format!("{component}:{version}")));
        }
    }
}

#[test]
fn one_command_sets_the_registry_and_may_be_given_twice() {
    let block = blocks()
        .into_iter()
        .find(|block| block.section == "Prepare a cluster" && block.commands.contains("REGISTRY"));
    let command = block.expect("the tutorial sets the registry").commands;
    let copy = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(copy.path().join("k8s")).expect("a folder");
    let files: Vec<String> = manifests().into_iter().filter(|path| path.starts_with("k8s/step-")).collect();
    for file in &files {
        std::fs::copy(root().join(file), copy.path().join(file)).expect("a copy");
    }
    for _ in 0..2 {
        let mut bash = Command::new("bash");
        bash.args(["-euc", &command]).current_dir(copy.path()).env("REGISTRY", "registry.example/poll");
        assert!(bash.status().expect("bash").success());
    }
    for file in &files {
        let text = std::fs::read_to_string(copy.path().join(file)).expect("the copy");
        let changed = parse(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        for (before, after) in documents(file).iter().zip(&changed) {
            let Some(before) = image(before) else { continue };
            let wanted = if before.starts_with("voting-") {
                format!("registry.example/poll/{before}")
            } else {
                before
            };
            assert_eq!(image(after), Some(wanted), "{file}");
        }
    }
    let left: Vec<_> = std::fs::read_dir(copy.path().join("k8s")).expect("the folder").collect();
    assert_eq!(left.len(), files.len(), "the command leaves files behind");
}
