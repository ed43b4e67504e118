//! The output of the programs: a closed pipe ends them quietly, a full disk or a closed output with one line.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use voting_core::Choice;
use voting_tests::process::{clean, program};
use voting_tests::store::{ballot, open_store};

/// Runs a program with this standard output; returns whether it succeeded, and its standard error.
async fn run_with(program: &Path, arguments: &[&str], url: &str, stdout: Stdio) -> (bool, String) {
    let mut command = clean(program);
    command.args(arguments).env("STORAGE_URL", url).stdout(stdout).stderr(Stdio::piped());
    // Not `output`, which would replace the standard output.
    let output = command.spawn().unwrap().wait_with_output().await.unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

/// [`run_with`] a standard output that is closed.
async fn run_closed(program: &Path, arguments: &[&str], url: &str) -> (bool, String) {
    let mut command = clean(Path::new("/bin/sh"));
    command.args(["-c", "exec \"$@\" >&-", "sh"]).arg(program).args(arguments).env("STORAGE_URL", url);
    let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().await.unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full_disk() -> Stdio {
    std::fs::File::options().write(true).open("/dev/full").unwrap().into()
}

#[tokio::test]
async fn a_closed_pipe_is_quiet_and_a_full_disk_or_a_closed_output_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/votes.db", folder.path().display());
    open_store(&url).cast(ballot(Choice::First)).await.unwrap();
    let backup = folder.path().join("backup");
    let tool = program("voting-storage");
    let export = clean(&tool).arg("export").env("STORAGE_URL", &url).output().await.unwrap();
    std::fs::write(&backup, export.stdout).unwrap();
    let to = format!("sqlite:{}/other.db", folder.path().display());
    let mut cases: Vec<(PathBuf, Vec<&str>)> = Vec::new();
    for name in ["voting-app", "voting-analytics", "voting-storage", "voting-load", "voting-local", "xtask"] {
        cases.push((program(name), vec!["--help"]));
    }
    for name in ["voting-app", "voting-storage"] {
        cases.push((program(name), vec!["--version"]));
    }
    for arguments in [
        vec!["transfer", "--help"],
        vec!["tally"],
        vec!["check"],
        vec!["migrate"],
        vec!["export"],
        vec!["import", backup.to_str().unwrap()],
        vec!["transfer", "--from", &url, "--to", &to],
        vec!["new-origin"],
        vec!["reset", "--yes"],
    ] {
        cases.push((tool.clone(), arguments));
    }
    for (program, arguments) in cases {
        let (is_ok, stderr) = run_with(&program, &arguments, &url, closed_pipe()).await;
        assert!(is_ok && stderr.is_empty(), "{} {arguments:?} | : {stderr}", program.display());
        let (is_ok, stderr) = run_with(&program, &arguments, &url, full_disk()).await;
        let is_one_line =
            stderr.lines().count() == 1 && stderr.contains("can't write to the standard output");
        assert!(!is_ok && is_one_line, "{} {arguments:?} > /dev/full: {stderr}", program.display());
        let effect = match arguments[..] {
            [_, "--help"] => "",
            ["migrate"] => "the store is ready: ",
            ["import", _] | ["transfer", ..] => "the votes are merged: ",
            ["new-origin"] => "the store has a new origin; restart the services that use it: ",
            ["reset", _] => "the votes are deleted: ",
            _ => "",
        };
        assert!(stderr.contains(&format!(": {effect}can't write")), "{arguments:?}: {stderr}");
        if !program.ends_with("xtask") {
            let (is_ok, stderr) = run_closed(&program, &arguments, &url).await;
            let is_one_line = stderr.lines().count() == 1
                && stderr.contains("can't write to the standard output: it is closed");
            assert!(!is_ok && is_one_line, "{} {arguments:?} >&-: {stderr}", program.display());
        }
    }
}

#[tokio::test]
async fn voting_local_reports_a_full_disk_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--port", "0", "--data-dir", folder.path().to_str().unwrap()];
    let (is_ok, stderr) = run_with(&program("voting-local"), &arguments, "", full_disk()).await;
    assert!(!is_ok && stderr.lines().count() == 1 && !stderr.contains("panic"), "{stderr}");
}
