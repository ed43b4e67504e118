//! `k8s/doctor.sh` without a cluster. `cargo xtask cluster-test doctor` runs it on one.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::{read, root};

const SCRIPT: &str = "k8s/doctor.sh";

/// Shells that run the script; those that this machine has.
fn shells() -> Vec<&'static str> {
    let shells = ["sh", "dash", "bash", "ash", "ksh"].into_iter();
    let shells: Vec<_> =
        shells.filter(|shell| Command::new(shell).args(["-c", ":"]).output().is_ok()).collect();
    assert!(shells.contains(&"sh"), "there is no shell");
    shells
}

/// Runs the script with these arguments, and with the programs of this folder only.
fn doctor(shell: &str, arguments: &[&str], path: Option<&Path>) -> (Option<i32>, String, String) {
    let mut command = Command::new(shell);
    command.arg(SCRIPT).args(arguments).current_dir(root());
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{shell}: {error}"));
    let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn every_shell_parses_it() {
    for shell in shells() {
        let parsed = Command::new(shell).args(["-n", SCRIPT]).current_dir(root()).output();
        let parsed = parsed.unwrap_or_else(|error| panic!("{shell}: {error}"));
        assert!(parsed.status.success() && parsed.stderr.is_empty(), "{shell}: {parsed:?}");
    }
}

#[test]
fn help_names_every_option_and_exits_with_0() {
    let script = read(SCRIPT);
    for shell in shells() {
        let (code, printed, errors) = doctor(shell, &["--help"], None);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{shell}");
        for option in ["--context", "--timeout", "--help"] {
            assert!(printed.contains(&format!("\n  {option} ")) && script.contains(option), "{option}");
        }
    }
}

#[test]
fn wrong_usage_exits_with_2_and_one_line_that_says_what_is_allowed() {
    for shell in shells() {
        for (arguments, part) in [
            (&["--contex"][..], "--contex; allowed: --context NAME"),
            (&["here"], "unknown argument here"),
            (&["--context"], "--context needs a name"),
            (&["--timeout", "1m"], "1m is not a number of seconds"),
            (&["--timeout="], "not a number of seconds"),
        ] {
            let (code, printed, errors) = doctor(shell, arguments, None);
            assert_eq!(
                (code, printed.as_str(), errors.lines().count()),
                (Some(2), "", 1),
                "{shell}: {errors}"
            );
            assert!(errors.contains(part) && errors.contains("--help"), "{shell}: {errors}");
        }
    }
}

#[test]
fn without_kubectl_it_says_so_in_one_line() {
    let programs = TempDir::new().expect("a folder");
    let found = std::env::var_os("PATH").expect("PATH");
    for name in ["dirname", "sed"] {
        let program =
            std::env::split_paths(&found).map(|folder| folder.join(name)).find(|path| path.is_file());
        let program = program.unwrap_or_else(|| panic!("{name} is not on the PATH"));
        std::os::unix::fs::symlink(program, programs.path().join(name)).expect("a link");
    }
    let (code, printed, errors) = doctor("/bin/sh", &[], Some(programs.path()));
    assert_eq!((code, errors.as_str()), (Some(1), ""));
    assert!(
        printed.starts_with("FAIL  kubectl is not on the PATH") && printed.lines().count() == 1,
        "{printed}"
    );
}

#[test]
fn it_asks_for_the_right_to_each_kind_of_the_manifests() {
    // What the script derives from the files, in the way that it does.
    let script = read(SCRIPT);
    let (_, functions) = script.split_once("\nreviews() {").expect("the function");
    let (function, _) = functions.split_once("\n}\n").expect("its end");
    let program = format!("here=k8s\nreviews() {{{function}\n}}\nreviews");
    let printed = Command::new("sh").args(["-c", &program]).current_dir(root()).output().expect("sh");
    let printed = String::from_utf8(printed.stdout).expect("the output is UTF-8");
    for (resource, group) in [
        ("namespaces", ""),
        ("services", ""),
        ("serviceaccounts", ""),
        ("secrets", ""),
        ("persistentvolumeclaims", ""),
        ("deployments", "apps"),
        ("jobs", "batch"),
        ("networkpolicies", "networking.k8s.io"),
        ("poddisruptionbudgets", "policy"),
        ("horizontalpodautoscalers", "autoscaling"),
        ("gateways", "networking.istio.io"),
        ("virtualservices", "networking.istio.io"),
        ("destinationrules", "networking.istio.io"),
        ("peerauthentications", "security.istio.io"),
        ("authorizationpolicies", "security.istio.io"),
    ] {
        for verb in ["create", "get", "patch", "delete"] {
            let namespace = if resource == "namespaces" { "" } else { "voting" };
            let review = format!(
                "{{verb: {verb}, group: \"{group}\", resource: {resource}, subresource: \"\", namespace: \"{namespace}\"}}"
            );
            assert!(printed.contains(&review), "{review} is not among\n{printed}");
        }
    }
}
