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

/// The tests in this file or folder of a suite, by the names that `cargo test` filters.
fn tests_in(path: &Path, module: &str, names: &mut Vec<String>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let module = if name == "main" { module.to_owned() } else { format!("{module}{name}::") };
            tests_in(&path, &module, names);
        }
        return;
    }
    let text = std::fs::read_to_string(path).unwrap();
    let mut is_test = false;
    for line in text.lines() {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if is_test && let Some((_, name)) = line.split_once("fn ") {
            names.push(format!("{module}{}", name.split('(').next().unwrap()));
            is_test = false;
        }
    }
}

/// Whether `cargo test -p voting-tests --test SUITE FILTER` runs a test.
fn runs_a_test(suite: &str, filter: &str) -> bool {
    let (folder, mut names) = (root().join("tests").join(suite), Vec::new());
    assert!(folder.join("main.rs").is_file(), "no suite {suite}");
    tests_in(&folder, "", &mut names);
    assert!(!names.is_empty(), "no tests in {suite}");
    names.iter().any(|name| name.contains(filter))
}

/// The cells of the table that begins with this one.
fn rows<'a>(page: &'a str, first: &str) -> Vec<Vec<&'a str>> {
    let (_, table) = page.split_once(&format!("| {first} |")).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn every_other_case_has_a_figure_and_a_command_that_runs_a_test() {
    let page = std::fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let rows = rows(&page, "other case");
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        let [case, _, figure, commands] = row[..] else { panic!("{row:?}: not four cells") };
        let has_figure = figure.contains(|character: char| character.is_ascii_digit());
        assert!(has_figure, "{case}: no figure");
        let commands: Vec<_> = commands.split('`').skip(1).step_by(2).collect();
        assert!(!commands.is_empty(), "{case}: no command");
        for command in commands {
            match command.split(' ').collect::<Vec<_>>()[..] {
                // The commands of the whole page are checked below.
                ["cargo", "xtask", ..] => {}
                [suite, filter] => assert!(runs_a_test(suite, filter), "{case}: `{command}` runs no test"),
                _ => panic!("{case}: `{command}` is not a suite and a filter"),
            }
        }
    }
}

#[test]
fn the_table_of_faults_has_a_row_for_each_that_the_ledger_injects() {
    let page = std::fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let rows: Vec<_> = rows(&page, "fault, under load").iter().map(|row| row[0]).collect();
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
                assert!(runs_a_test(suite, name), "{code}: no test {name}");
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
