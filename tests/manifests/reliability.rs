//! The commands and tests that `docs/reliability.md` names.

use std::path::{Path, PathBuf};

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
