//! Invalid settings abort start-up with a one-line error.

use std::path::Path;

use voting_tests::PATIENCE;
use voting_tests::process::{clean, program, run};

#[tokio::test]
async fn an_invalid_setting_aborts_start_up_with_one_line() {
    let in_use = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = in_use.local_addr().unwrap().port().to_string();
    let busy = format!("port {port} is in use; stop what uses it or choose another port");
    let cases: [(&[(&str, &str)], &str); 20] = [
        (
            &[("VOTE1VALUE", "Cats"), ("VOTE2VALUE", "Cats")],
            "VOTE2VALUE: \"Cats\" equals VOTE1VALUE; allowed: two different names",
        ),
        (
            &[("VOTE1VALUE", "Cats"), ("VOTE2VALUE", "ＣＡＴＳ\u{200b}")],
            "VOTE2VALUE: \"ＣＡＴＳ\\u{200b}\" looks like VOTE1VALUE, \"Cats\"; allowed: two names that differ in more than case",
        ),
        (
            &[("VOTE1VALUE", "\u{200b}")],
            "VOTE1VALUE: \"\\u{200b}\" shows nothing; allowed: 1 to 100 characters",
        ),
        (&[("VOTE1VALUE", " ")], "VOTE1VALUE: \" \" is empty; allowed: 1 to 100 characters"),
        (
            &[("VOTE2VALUE", "reset")],
            "VOTE2VALUE: \"reset\" is the command that resets the poll; allowed: 1 to 100 characters other than \"reset\"",
        ),
        (
            &[("REDIS_PORT", "tcp://10.0.0.1:6379")],
            "REDIS_PORT: \"tcp://10.0.0.1:6379\" is not a port; allowed: a number from 1 to 65535",
        ),
        (&[("PORT", "80800")], "PORT: \"80800\" is not a port; allowed: a number from 0 to 65535"),
        (
            &[("PORT", &port), ("ADMIN_PORT", &port)],
            &format!("ADMIN_PORT: \"{port}\" equals PORT; allowed: another port"),
        ),
        (&[("RELEASE", "9.9")], "is not a release of "),
        (
            &[("FAULTS", "tail=5%")],
            "FAULTS: \"tail=5%\" has no valid value of \"tail\"; allowed: tail=RATE:TIME, ",
        ),
        (
            &[("FAULTS", "eror=5%")],
            "FAULTS: \"eror=5%\" names the unknown fault \"eror\"; allowed: error=RATE,",
        ),
        (&[("FAULTS", "seed=1")], "FAULTS: \"seed=1\" names no fault; allowed: one or more of error=RATE,"),
        (&[("LOG_FORMAT", "xml")], "LOG_FORMAT: \"xml\" is not allowed; allowed: auto, text, json"),
        (
            &[("STORAGE_URL", "mysqli://u:secret@h/d")],
            "STORAGE_URL: (not shown) is not the URL of a store; allowed: ",
        ),
        (
            &[("REDIS_HOST", "two words")],
            "REDIS_HOST: \"two words\" is not a host; allowed: a host name or an IP address",
        ),
        (
            &[("REDIS_HOST", "::")],
            "REDIS_HOST: \"::\" is an address to listen on, not to connect to; allowed: a host name or an IP address",
        ),
        (
            &[("MYSQL_HOST", "0.0.0.0")],
            "MYSQL_HOST: \"0.0.0.0\" is an address to listen on, not to connect to; allowed: a host name or an IP address",
        ),
        (
            &[("STORAGE_URL", "redis://[::]:6379")],
            "STORAGE_URL: (not shown) is not the URL of a store; allowed: ",
        ),
        (&[("REDIS_HOST", "u:secret@h")], "REDIS_HOST: (not shown) is not a host; allowed: "),
        (&[("PORT", &port), ("LISTEN_ADDRESS", "127.0.0.1")], &busy),
    ];
    for program in ["voting-app", "voting-analytics"] {
        for (settings, line) in cases {
            let ended = run(program, &[], settings).await;
            assert!(!ended.success, "{program} {settings:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{program} {settings:?}: {}", ended.stderr);
            assert!(ended.stderr.starts_with(&format!("{program}: ")), "{}", ended.stderr);
            assert!(ended.stderr.contains(line), "{program} {settings:?}: {}", ended.stderr);
            assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
            assert_eq!(ended.stdout, "");
        }
    }
}

#[tokio::test]
async fn an_argument_that_may_hold_a_password_is_not_repeated() {
    let url = "redis://u:secret@h";
    let analytics = [("ANALYTICS_URL", "http://u:secret@localhost:1")];
    for (program, arguments, settings) in [
        ("voting-app", &[url][..], &[][..]),
        ("voting-app", &["--no-such", url], &[]),
        ("voting-app", &[], &analytics),
        ("voting-storage", &["check", url], &[]),
        ("voting-storage", &[url], &[]),
    ] {
        let ended = run(program, arguments, settings).await;
        assert!(!ended.success && ended.stderr.contains("allowed: "), "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn the_help_lists_every_setting_and_shows_no_secret() {
    let settings = [
        ("MYSQL_PASSWORD", "hunter2"),
        ("REDIS_PASSWORD", "hunter2"),
        ("REDIS_PWD", "hunter2"),
        ("STORAGE_URL", "redis://:hunter2@h:6379"),
    ];
    for (program, names) in [
        (
            "voting-app",
            "RELEASE FAULTS PORT ADMIN_PORT LISTEN_ADDRESS TRUSTED_ORIGINS TRUST_FORWARDED_HOST HSTS_MAX_AGE TITLE VOTE1VALUE VOTE2VALUE SHOWDETAILS FEATUREFLAG ALLOW_RESET REDIS_HOST REDIS_PORT REDIS_USER REDIS_PASSWORD REDIS_PWD REDIS_PASSWORD_FILE REDIS_TLS MYSQL_HOST MYSQL_PORT MYSQL_USER MYSQL_PASSWORD MYSQL_PASSWORD_FILE MYSQL_SSL_MODE MYSQL_SSL_CA MYSQL_DATABASE ANALYTICS_HOST ANALYTICS_PORT ANALYTICS_URL STORAGE_URL",
        ),
        (
            "voting-analytics",
            "RELEASE FAULTS PORT ADMIN_PORT VOTE1VALUE VOTE2VALUE REDIS_HOST REDIS_PORT REDIS_USER REDIS_PASSWORD REDIS_PWD REDIS_PASSWORD_FILE REDIS_TLS MYSQL_HOST MYSQL_PORT MYSQL_USER MYSQL_PASSWORD MYSQL_PASSWORD_FILE MYSQL_SSL_MODE MYSQL_SSL_CA MYSQL_DATABASE STORAGE_URL",
        ),
        (
            "voting-storage",
            "VOTE1VALUE VOTE2VALUE REDIS_HOST REDIS_PORT REDIS_USER REDIS_PASSWORD REDIS_PWD REDIS_PASSWORD_FILE REDIS_TLS MYSQL_HOST MYSQL_PORT MYSQL_USER MYSQL_PASSWORD MYSQL_PASSWORD_FILE MYSQL_SSL_MODE MYSQL_SSL_CA MYSQL_DATABASE STORAGE_URL",
        ),
        ("voting-local", "STEP PORT LISTEN_ADDRESS ALLOWED_HOSTS DATA_DIR TITLE VOTE1VALUE VOTE2VALUE"),
    ] {
        let ended = run(program, &["--help"], &settings).await;
        assert!(ended.success);
        for name in names.split(' ') {
            assert!(ended.stdout.contains(&format!("[env: {name}")), "{program} does not explain {name}");
        }
        assert!(!ended.stdout.contains("hunter2"), "{program}");
    }
}

#[tokio::test]
async fn an_empty_variable_counts_as_unset() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/votes.db", folder.path().display());
    let names = [
        "PORT",
        "VOTE1VALUE",
        "VOTE2VALUE",
        "TITLE",
        "REDIS_HOST",
        "REDIS_PORT",
        "REDIS_USER",
        "REDIS_PASSWORD",
        "REDIS_PWD",
        "REDIS_PASSWORD_FILE",
        "REDIS_TLS",
        "MYSQL_HOST",
        "MYSQL_PORT",
        "MYSQL_USER",
        "MYSQL_PASSWORD",
        "MYSQL_PASSWORD_FILE",
        "MYSQL_SSL_MODE",
        "MYSQL_SSL_CA",
        "MYSQL_DATABASE",
        "FROM_URL",
        "TO_URL",
        "RUST_LOG",
    ];
    let mut settings: Vec<_> = names.iter().map(|name| (*name, "")).collect();
    settings.push(("STORAGE_URL", &url));
    for (command, printed) in [("migrate", "is ready"), ("tally", "Cats")] {
        let ended = run("voting-storage", &[command], &settings).await;
        assert!(ended.success && ended.stdout.contains(printed), "{}", ended.stderr);
    }
    for program in ["voting-app", "voting-analytics"] {
        settings.extend(
            ["RELEASE", "FAULTS", "LOG_FORMAT", "LISTEN_ADDRESS", "SHUTDOWN_WAIT", "ANALYTICS_PORT"]
                .map(|name| (name, "")),
        );
        // The first setting that is not empty is the one that is wrong.
        let ended = run(program, &["--admin-port", "none"], &settings).await;
        assert!(ended.stderr.contains("ADMIN_PORT: \"none\" is not a port"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn too_few_open_files_are_one_line() {
    for name in ["voting-app", "voting-analytics", "voting-storage", "voting-local"] {
        for files in [6, 8, 20] {
            let folder = tempfile::tempdir().unwrap();
            let command = format!("ulimit -n {files}; exec \"$@\"");
            let mut limited = clean(Path::new("/bin/sh"));
            limited.args(["-c", &command, "sh"]).arg(program(name));
            if name == "voting-storage" {
                limited.arg("check");
            }
            limited.env("STORAGE_URL", "redis://127.0.0.1:1").env("DATA_DIR", folder.path()).env("PORT", "0");
            let output = limited.env("ADMIN_PORT", "0").output();
            let output = tokio::time::timeout(PATIENCE, output).await.expect("it runs").unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && stderr.lines().count() == 1, "{name} {files}: {stderr}");
            let line =
                format!("{name}: the limit of open files (ulimit -n) is {files}; allowed: 64 or more\n");
            assert_eq!(stderr, line);
            let help = format!("ulimit -n {files}; exec \"$@\" --help");
            let mut limited = clean(Path::new("/bin/sh"));
            let help = limited.args(["-c", &help, "sh"]).arg(program(name)).output().await.unwrap();
            assert!(help.status.success(), "{name} {files}");
        }
    }
}
