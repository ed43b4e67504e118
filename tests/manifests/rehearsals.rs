//! The exercises of `docs/rehearsals.md`, as `cargo xtask cluster-test rehearsals` expects them.

use std::process::Command;

use voting_tests::tutorial::Block;

use crate::read;

fn exercises() -> Vec<(String, Vec<Block>)> {
    let mut exercises: Vec<(String, Vec<Block>)> = Vec::new();
    for block in voting_tests::tutorial::blocks(&read("docs/rehearsals.md")) {
        if !block.section.starts_with("Exercise ") {
            continue;
        }
        match exercises.last_mut() {
            Some((section, blocks)) if *section == block.section => blocks.push(block),
            _ => exercises.push((block.section.clone(), vec![block])),
        }
    }
    exercises
}

#[test]
fn each_exercise_has_its_parts_in_order_and_ends_with_an_account() {
    let exercises = exercises();
    assert_eq!(exercises.len(), 8);
    for (number, (section, blocks)) in exercises.iter().enumerate() {
        assert!(section.starts_with(&format!("Exercise {}: ", number + 1)), "{section}");
        let mut parts: Vec<&str> = blocks.iter().map(|block| block.subsection.as_str()).collect();
        parts.dedup();
        assert_eq!(parts, ["Start", "Watch", "Act", "In the end"], "{section}");
        let mut accounts = blocks.iter().filter(|block| block.commands.starts_with("sh k8s/load/account.sh"));
        let last = accounts.next_back().unwrap_or_else(|| panic!("{section} has no account"));
        assert_eq!(last.subsection, "In the end", "{section}");
        assert!(last.output.ends_with("every promise held\n"), "{section}: {}", last.output);
        for name in ["lost ", "doubled "] {
            let line = last.output.lines().find(|line| line.starts_with(name)).expect(name);
            assert!(line.split_whitespace().skip(1).all(|votes| votes == "0"), "{section}: {line}");
        }
    }
}

#[test]
fn the_voters_are_those_of_the_job_with_more_time_and_flags() {
    let blocks = voting_tests::tutorial::blocks(&read("docs/rehearsals.md"));
    let voters = blocks.iter().find(|block| block.subsection == "Voters").expect("voters");
    let command = voters.commands.lines().next().expect("a command").split(" | ").next().expect("sed");
    let output = Command::new("bash").args(["-c", command]).current_dir(crate::root()).output().expect("sed");
    let (before, after) =
        (read("k8s/load/voting-load.yaml"), String::from_utf8(output.stdout).expect("UTF-8"));
    let changes: Vec<_> = before.lines().zip(after.lines()).filter(|(one, other)| one != other).collect();
    let changes: Vec<&str> = changes.into_iter().map(|(_, after)| after.trim()).collect();
    assert_eq!(changes, [r#"- {name: DURATION, value: "3000"}"#, r#"- {name: FLAGGED, value: "50"}"#]);
    // Those that begin in the middle of an exercise are the same.
    let again = exercises().into_iter().flat_map(|(_, blocks)| blocks);
    for block in again.filter(|block| block.commands.contains("voting-load.yaml")) {
        assert!(block.commands.ends_with(&voters.commands), "{}", block.commands);
    }
}
