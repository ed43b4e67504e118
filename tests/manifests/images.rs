//! Image tags against the release table.

use std::collections::BTreeSet;

use regex::Regex;
use voting_core::release::{AnalyticsRelease, AppRelease, Released};

use crate::parse::Document;
use crate::routing::all_that_is_ever_applied;
use crate::{load, read};

fn image(document: &Document) -> Option<String> {
    let image = document.at("/spec/template/spec/containers/0/image")?.as_str()?;
    Some(image.to_owned())
}

/// Image tag of the tools.
const TOOL_VERSION: &str = "2.0";

/// Every image of the system as `NAME:TAG`.
pub(crate) fn released_images() -> Vec<String> {
    fn of<R: Released>() -> impl Iterator<Item = String> {
        R::all().iter().map(|release| format!("{}:{}", R::COMPONENT, release.version()))
    }
    let tools = ["voting-storage", "voting-load"].map(|tool| format!("{tool}:{TOOL_VERSION}"));
    of::<AppRelease>().chain(of::<AnalyticsRelease>()).chain(tools).collect()
}

#[test]
fn the_release_table_names_the_images_of_the_tutorial() {
    assert_eq!(
        released_images(),
        [
            "voting-app:1.0",
            "voting-app:2.0",
            "voting-analytics:1.0",
            "voting-analytics:1.1",
            "voting-analytics:2.0",
            "voting-storage:2.0",
            "voting-load:2.0"
        ]
    );
}

#[test]
fn every_image_of_the_release_table_is_used_and_no_other() {
    let mut used: BTreeSet<String> = all_that_is_ever_applied().values().filter_map(image).collect();
    used.extend(load::resources().values().filter_map(image));
    let mut released: BTreeSet<String> = released_images().into_iter().collect();
    released.extend(["redis:8".to_owned(), "mysql:8.4".to_owned()]);
    assert_eq!(used, released);
}

#[test]
fn every_image_of_the_release_table_is_built_and_no_other() {
    let bake = read("docker/docker-bake.hcl");
    let entry = Regex::new(r#"program = "([^"]+)", release = "([^"]+)""#).expect("a regex");
    let built: Vec<_> = entry.captures_iter(&bake).map(|one| format!("{}:{}", &one[1], &one[2])).collect();
    assert_eq!(built, released_images());
}

#[test]
fn an_image_runs_one_program_unprivileged_and_checks_it_without_a_shell() {
    let file = read("docker/Dockerfile");
    assert!(!file.starts_with("# syntax="), "the syntax would be fetched");
    assert!(
        file.contains("cargo build --profile $PROFILE --locked "),
        "the build takes other versions than the tests"
    );
    assert!(file.contains("\nARG PROFILE=release\n"));
    assert!(
        Regex::new(r#"variable "PROFILE" \{[^}]*default = "release"\n\}"#)
            .expect("a regex")
            .is_match(&read("docker/docker-bake.hcl"))
    );
    let stages: Vec<_> = file.split("\nFROM ").skip(1).collect();
    let stage = |name: &str| {
        let end = format!(" AS {name}");
        let of_it = |stage: &&&str| stage.lines().next().is_some_and(|line| line.ends_with(&end));
        *stages.iter().find(of_it).unwrap_or_else(|| panic!("there is no stage {name}"))
    };
    assert!(stage("runtime").contains("\nUSER 65532:65532\n"));
    assert!(stage("runtime").starts_with("${RUNTIME_IMAGE}") && file.contains("distroless"));
    assert!(
        stage("service").starts_with("runtime ") && stage("service").contains("\nENV RELEASE=${RELEASE}\n")
    );
    for program in ["voting-app", "voting-analytics", "voting-storage", "voting-load"] {
        let is_service = ["voting-app", "voting-analytics"].contains(&program);
        let stage = stage(program);
        assert!(stage.starts_with(if is_service { "service " } else { "runtime " }), "{program}");
        assert!(stage.contains(&format!("\nENTRYPOINT [\"{program}\"]")), "{program}");
        assert!(!stage.contains("\nUSER ") && !stage.contains("\nRUN "), "{program}");
        let check = format!(" CMD [\"{program}\", \"check\"]");
        assert_eq!(stage.contains("HEALTHCHECK ") && stage.contains(&check), is_service, "{program}");
    }
}

#[test]
fn names_labels_and_images_have_the_same_release() {
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
