//! The command blocks of `docs/tutorial.md`, and their references.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use clap::ValueEnum as _;
use voting_tests::tutorial::{Block, Track};

use crate::{manifests, read, root};

pub fn blocks() -> Vec<Block> {
    let blocks = voting_tests::tutorial::blocks(&read("docs/tutorial.md"));
    assert!(blocks.len() > 20, "only {} blocks", blocks.len());
    blocks
}

/// The blocks for one track.
pub fn blocks_of(track: Track) -> Vec<Block> {
    voting_tests::tutorial::blocks_of(&read("docs/tutorial.md"), track)
}

/// The files of `k8s/`, `istio/` or `gateway-api/` in a text.
fn files(text: &str) -> BTreeSet<String> {
    text.split(|c: char| c.is_whitespace() || "`'\"()[],;".contains(c))
        .filter(|word| ["k8s/", "istio/", "gateway-api/"].iter().any(|folder| word.starts_with(folder)))
        .filter(|word| !word.contains('*'))
        .map(|word| word.trim_end_matches('.').to_owned())
        .filter(|word| word.contains('.'))
        .collect()
}

#[test]
fn the_tutorial_uses_every_manifest_and_no_other() {
    let others = ["k8s/cilium/allow-dns-on-the-node.yaml", "gateway-api/https/redirect.yaml"];
    let mut named: BTreeSet<String> =
        files(&read("docs/tutorial.md")).into_iter().filter(|name| name.ends_with("yaml")).collect();
    for other in others {
        assert!(named.remove(other) && root().join(other).is_file(), "{other}");
    }
    assert_eq!(named.into_iter().collect::<Vec<_>>(), manifests());
}

#[test]
fn the_rehearsals_name_files_that_exist() {
    let named = files(&read("docs/rehearsals.md"));
    assert!(named.len() >= 2, "{named:?}");
    for name in named {
        assert!(root().join(&name).is_file(), "{name}");
    }
}

#[test]
fn commands_of_the_tutorial_and_the_rehearsals_are_valid_bash() {
    let rehearsals = voting_tests::tutorial::blocks(&read("docs/rehearsals.md"));
    assert!(rehearsals.len() > 30, "only {} blocks", rehearsals.len());
    for block in blocks().into_iter().chain(rehearsals) {
        let mut bash = Command::new("bash")
            .arg("-n")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash");
        bash.stdin.take().expect("a pipe").write_all(block.commands.as_bytes()).expect("bash reads");
        let output = bash.wait_with_output().expect("bash ends");
        assert!(output.status.success(), "{}\n{}", block.commands, String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_table_of_2019_names_commands_of_the_tutorial() {
    let text = read("docs/tutorial.md");
    let (body, table) = text.split_once("## From the 2019 tutorial to this one").expect("the table");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() >= 8, "only {} rows", rows.len());
    for row in rows {
        let today = row.split('|').nth(2).unwrap_or_default();
        for command in today.split('`').skip(1).step_by(2) {
            let known =
                body.lines().any(|line| line.starts_with(command) || line.contains(&format!("`{command}`")));
            assert!(known, "the tutorial does not use {command:?}");
        }
    }
}

#[test]
fn links_of_the_tutorial_the_platforms_and_the_rehearsals_exist() {
    for page in ["tutorial.md", "platforms.md", "rehearsals.md"] {
        let text = read(&format!("docs/{page}"));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { page } else { file };
            assert!(root().join("docs").join(file).exists(), "{page}: no file {file}");
            if !anchor.is_empty() {
                assert!(headings(file).contains(anchor), "{page}: {file} has no heading {anchor}");
            }
        }
    }
}

/// The anchors of a page of `docs/`.
fn headings(page: &str) -> BTreeSet<String> {
    let text = read(&format!("docs/{page}"));
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches(['#', ' ']).to_lowercase();
        title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -".contains(*c))
            .collect::<String>()
            .replace(' ', "-")
    });
    headings.collect()
}

/// A revision of Istio or of the add-on that is written down can't be installed for long.
#[test]
fn no_command_and_no_manifest_names_a_revision_of_the_mesh() {
    let mut texts: Vec<String> = blocks().into_iter().map(|block| block.commands).collect();
    texts.extend(manifests().iter().map(|path| read(path)));
    texts.push(read("kustomize/aks-add-on/kustomization.yaml"));
    for text in texts {
        assert!(!text.contains("asm-1-") && !text.contains("--revision"), "{text}");
    }
}

/// A vote can't be repeated like a read, and one that comes before the gateway has the new route is counted by the old release.
#[test]
fn readers_see_the_new_route_before_they_vote() {
    for track in Track::value_variants() {
        let mut is_seen = false;
        let mut votes = 0;
        let blocks = blocks_of(*track);
        for block in blocks.iter().filter(|block| block.is_on_the_main_way()) {
            if block.commands.contains("kubectl apply") {
                is_seen = false;
            } else if block.commands.contains(" -d vote=") {
                votes += 1;
                let is_flagged = block.commands.contains("--cookie featureflag=on");
                // The route of step 1 has no predecessor.
                assert!(!is_flagged || is_seen, "{track:?}: {}", block.commands);
            } else if block.commands.contains("--cookie featureflag=on $INGRESS_IP | grep x-voting-path") {
                is_seen = block.output.contains("app=2.0");
            }
        }
        assert_eq!(votes, 2, "{track:?}");
    }
}
