//! The commands and tests that `docs/reliability.md` names.

use std::path::{Path, PathBuf};

use voting_tests::faults::Fault;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The texts of all files in this folder.
fn texts(folder: &Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &texts(&path);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            all += &text;
        }
    }
    all
}

#[test]
fn the_table_of_faults_has_a_row_for_each_that_the_ledger_injects() {
    let page = std::fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let (_, table) = page.split_once("| fault, under load |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<_> = rows.map(|row| row.split('|').nth(1).unwrap().trim()).collect();
    let faults = Fault::ALL.map(|(fault, _)| match fault {
        Fault::KillApp(_) => "`kill -9` of one of two apps",
        Fault::TerminateApp(_) => "SIGTERM of one of two apps",
        Fault::KillAnalytics => "`kill -9` of voting-analytics",
        Fault::KillStore => "`kill -9` and restart of the store",
        Fault::FreezeStore => "the store freezes for 5 seconds",
        Fault::DropAnswers => "for a second, connections are cut when the store responds",
        Fault::CutConnections => "for a second, no connection to the store is possible",
        Fault::SilentNetwork => "for 4 seconds, no traffic passes to or from the store",
        other => panic!("{other:?}: add it to the table"),
    });
    let expected = [&faults[..], &["eight replicas start at once on an empty database"]].concat();
    assert_eq!(rows, expected);
}

#[test]
fn every_command_and_test_of_the_page_on_reliability_exists() {
    let page = std::fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let ledger = texts(&root().join("tools/ledger/src"));
    let mut commands = 0;
    for code in page.split('`').skip(1).step_by(2) {
        let words: Vec<_> = code.split_whitespace().collect();
        match words.as_slice() {
            ["cargo", "xtask", "ledger", arguments @ ..] => {
                commands += 1;
                for flag in arguments.iter().filter_map(|word| word.strip_prefix("--")) {
                    let field = format!(" {}:", flag.replace('-', "_"));
                    assert!(ledger.contains(&field), "{code}: no --{flag}");
                }
            }
            ["cargo", "test", "-p", "voting-tests", "--test", suite, name, ..] => {
                commands += 1;
                let folder = root().join("tests").join(suite);
                let exists = texts(&folder).contains(&format!("fn {name}"))
                    || folder.join(format!("{name}.rs")).is_file();
                assert!(exists, "{code}: no test {name}");
            }
            ["cargo", "xtask", name, ..] => {
                let file = format!("{}.rs", name.replace('-', "_"));
                assert!(root().join("tools/xtask/src").join(file).is_file(), "{code}: no such command");
            }
            ["cargo", ..] => panic!("{code}: neither the ledger nor a test"),
            [path] if path.starts_with("tests/") => {
                assert!(root().join(path).exists(), "{path} does not exist");
            }
            _ => {}
        }
    }
    assert!(commands > 4, "{commands} commands");
}
