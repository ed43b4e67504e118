//! Every invalid value is rejected with one line that names the setting and what is allowed.
//!
//! The settings are those that a program lists itself, so that a new one can't be left out of the table.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use voting_tests::PATIENCE;
use voting_tests::process::{clean, program};

/// No text.
const BYTES: &[u8] = b"\xff\xfe";

const HOST: &str = "allowed: a host name or an IP address, without a port";
const TO_CONNECT: &str = "allowed: a number from 1 to 65535";
const TO_LISTEN: &str = "allowed: a number from 0 to 65535";
const SECONDS: &str = "allowed: a whole number from 0 to 65535";
const NAME: &str = "allowed: 1 to 100 characters";
const BOOLEAN: &str = "allowed: true, false";
const TEXT: &str = "allowed: text in UTF-8";
const PASSWORD_FILE: &str = "allowed: a file with the password in UTF-8";
const STORE: &str = "allowed: redis://HOST:PORT or ";

/// Settings: their variable, or their flag if they have none; a value that none of the programs accepts; and a part of the
/// error.
const INVALID: &[(&str, &[u8], &str)] = &[
    ("ADMIN_PORT", b"http", TO_LISTEN),
    ("ALLOWED_HOSTS", b"http://b.test", "allowed: names without a port"),
    ("ALLOW_RESET", b"maybe", BOOLEAN),
    ("ANALYTICS_HOST", b"voting-analytics:8080", HOST),
    ("ANALYTICS_PORT", b"0", TO_CONNECT),
    ("ANALYTICS_URL", b"ftp://voting-analytics", "allowed: http://HOST:PORT"),
    ("CLIENT_TIMEOUT", b"0", "allowed: a whole number from 1 to 65535"),
    ("DATA_DIR", b"/dev/null/votes", "allowed: a directory that this user may write"),
    ("FAULTS", b"error=200%", "allowed: error=RATE, RATE from 0.0001% to 100%"),
    ("FEATUREFLAG", b"maybe", BOOLEAN),
    ("FROM_URL", b"postgres://voting:secret@db", STORE),
    ("HOSTNAME", BYTES, TEXT),
    ("HSTS_MAX_AGE", b"1d", "allowed: a whole number from 0 to 4294967295"),
    ("LISTEN_ADDRESS", b"localhost", "allowed: one of IPv4 or IPv6"),
    ("LOG_FORMAT", b"xml", "allowed: auto, text, json"),
    ("MAX_CONNECTIONS", b"-1", "allowed: a whole number from 1 to 65535"),
    ("MYSQL_DATABASE", b"..", "allowed: the name of an existing one"),
    ("MYSQL_HOST", b"db/votes", HOST),
    ("MYSQL_PASSWORD", b"secret\xff", TEXT),
    ("MYSQL_PASSWORD_FILE", b"/dev/null/password", PASSWORD_FILE),
    ("MYSQL_PORT", b"65536", TO_CONNECT),
    ("MYSQL_SSL_CA", b"/dev/null/ca.pem", "allowed: a file with certificates in PEM"),
    ("MYSQL_SSL_MODE", b"ON", "allowed: DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY"),
    ("MYSQL_USER", BYTES, TEXT),
    ("PORT", b"tcp://10.0.0.1:6379", TO_LISTEN),
    ("REDIS_ALLOW_EVICTION", b"2", BOOLEAN),
    ("REDIS_HOST", b"two words", HOST),
    ("REDIS_PASSWORD", b"secret\xff", TEXT),
    ("REDIS_PASSWORD_FILE", b"/dev/null/password", PASSWORD_FILE),
    ("REDIS_PORT", b"tcp://10.0.0.1:6379", TO_CONNECT),
    ("REDIS_PWD", b"secret\xff", TEXT),
    ("REDIS_TLS", b"2", BOOLEAN),
    ("REDIS_USER", BYTES, TEXT),
    ("RELEASE", b"9.9", "allowed: 1.0, "),
    ("SHOWDETAILS", b"maybe", BOOLEAN),
    ("SHUTDOWN_DEADLINE", b"10s", SECONDS),
    ("SHUTDOWN_WAIT", b"-1", SECONDS),
    ("STEP", b"5", "allowed: a whole number from 1 to 4"),
    ("STORAGE_URL", b"mysqli://voting:secret@db/votes", STORE),
    ("TITLE", BYTES, TEXT),
    ("TO_URL", b"redis://:sec/ret@cache", "must be percent-encoded"),
    ("TRUSTED_ORIGINS", b"vote.example", "allowed: http://HOST:PORT or https://HOST:PORT"),
    ("TRUST_FORWARDED_HOST", b"maybe", BOOLEAN),
    ("VOTE1VALUE", b" ", NAME),
    ("VOTE2VALUE", b"reset", NAME),
    ("--dry-run", b"x", "allowed: no value"),
    ("--locked", b"x", "allowed: no value"),
    ("--wait", b"soon", "allowed: a whole number from 0 to "),
    ("--yes", b"x", "allowed: no value"),
];

/// Variables that no program lists with a flag: those of the log and of the traces.
const INVALID_VARIABLES: &[(&str, &[u8], &str)] = &[
    ("RUST_LOG", b"voting_app=loud", "allowed: a level (off, error, warn, info, debug, trace)"),
    ("RUST_LOG", b"warning", "allowed: a level (off, error, warn, info, debug, trace)"),
    ("RUST_LOG", BYTES, "allowed: a level"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", b"https://secret@collector", "allowed: http://HOST:PORT"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", b"http://voting:secret@collector:4318", "without a user and password"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", b"http://collector:port", "allowed: http://HOST:PORT"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", b"collector:4318", "allowed: http://HOST:PORT"),
    ("OTEL_TRACES_EXPORTER", b"zipkin", "allowed: otlp, none"),
];

/// A setting as the help of a program lists it.
#[derive(Debug)]
struct Setting {
    flag: String,
    variable: Option<String>,
}

impl Setting {
    fn name(&self) -> &str {
        self.variable.as_deref().unwrap_or(&self.flag)
    }
}

/// The result of a program: its exit code, its error and its output.
async fn run(name: &str, arguments: &[OsString], variables: &[(&str, &OsStr)]) -> (bool, String, String) {
    let mut command = clean(&program(name));
    let output = command.args(arguments).envs(variables.iter().copied()).output();
    let ended = tokio::time::timeout(PATIENCE, output).await;
    let ended = ended.unwrap_or_else(|_| panic!("{name} accepts {arguments:?} and {variables:?}")).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.success(), text(ended.stderr), text(ended.stdout))
}

/// What clap knows of a program's arguments, from the help that it prints.
async fn settings(name: &str, command: &[&str]) -> Vec<Setting> {
    let help: Vec<OsString> = command.iter().copied().chain(["--help"]).map(OsString::from).collect();
    let (success, stderr, help) = run(name, &help, &[]).await;
    assert!(success, "{stderr}");
    let mut settings: Vec<Setting> = Vec::new();
    for line in help.lines().map(str::trim) {
        if let Some(place) = line.find("--").filter(|place| *place == 0 || line.starts_with('-')) {
            let flag = line[place..].split([' ', '=', '[']).next().unwrap().to_owned();
            settings.push(Setting { flag, variable: None });
        }
        if let (Some((_, variable)), Some(setting)) = (line.split_once("[env: "), settings.last_mut()) {
            setting.variable = variable.split(['=', ']']).next().map(ToOwned::to_owned);
        }
    }
    settings.retain(|setting| !["--help", "--version"].contains(&setting.flag.as_str()));
    settings
}

fn check(context: &str, name: &str, allowed: &str, ended: (bool, String, String)) {
    let (success, stderr, stdout) = ended;
    assert!(!success, "{context}");
    assert_eq!(stderr.lines().count(), 1, "{context}: {stderr}");
    assert!(stderr.contains(name), "{context}: {stderr}");
    let place = stderr.find("allowed: ").unwrap_or_else(|| panic!("{context}: {stderr}"));
    assert!(stderr[place..].contains(allowed), "{context}: {stderr}");
    assert!(!stderr.contains("secret"), "{context}: {stderr}");
    assert_eq!(stdout, "", "{context}");
}

/// The error of each setting of a program, as a variable and as a flag; the arguments are `command`.
async fn every_setting_is_checked(name: &str, command: &[&str], valid: &[(&str, &str)]) -> usize {
    let all = settings(name, command).await;
    for setting in &all {
        let entry = INVALID.iter().find(|(of, ..)| *of == setting.name());
        let (_, value, allowed) = entry.unwrap_or_else(|| panic!("{}: add it to INVALID", setting.name()));
        // The password is used in the release with MySQL.
        let release = if setting.name().starts_with("MYSQL") { "2.0" } else { "1.0" };
        let ports =
            [("RELEASE", release), ("LISTEN_ADDRESS", "127.0.0.1"), ("PORT", "0"), ("ADMIN_PORT", "0")];
        let valid = valid.iter().copied().chain(ports).filter(|(other, _)| *other != setting.name());
        let valid: Vec<_> = valid.map(|(name, value)| (name, OsStr::new(value))).collect();
        let own: Vec<OsString> = command.iter().map(OsString::from).collect();
        let context = format!("{name} {command:?}, {}", setting.name());
        if let Some(variable) = &setting.variable {
            let variables = [&valid[..], &[(variable, OsStr::from_bytes(value))]].concat();
            check(&context, setting.name(), allowed, run(name, &own, &variables).await);
        }
        let flag = [setting.flag.as_bytes(), b"=", value].concat();
        let own = [&own[..], &[OsStr::from_bytes(&flag).to_owned()]].concat();
        check(&format!("{context} as a flag"), setting.name(), allowed, run(name, &own, &valid).await);
    }
    all.len()
}

#[tokio::test]
async fn every_setting_of_a_service_rejects_an_invalid_value_with_what_is_allowed() {
    assert!(every_setting_is_checked("voting-app", &[], &[]).await > 25);
    assert!(every_setting_is_checked("voting-analytics", &[], &[]).await > 15);
    let folder = tempfile::tempdir().unwrap();
    let data = [("DATA_DIR", folder.path().to_str().unwrap())];
    assert!(every_setting_is_checked("voting-local", &[], &data).await > 8);
    for program in ["voting-app", "voting-analytics"] {
        for (name, value, allowed) in INVALID_VARIABLES {
            let mut variables = vec![(*name, OsStr::from_bytes(value))];
            if *name != "OTEL_EXPORTER_OTLP_ENDPOINT" && *name != "RUST_LOG" {
                variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT", OsStr::new("http://collector:4318")));
            }
            check(&format!("{program}, {name}"), name, allowed, run(program, &[], &variables).await);
        }
    }
}

#[tokio::test]
async fn every_setting_of_the_tool_rejects_an_invalid_value_with_what_is_allowed() {
    // Every store but the one of the setting is down, and no command comes that far.
    for mysql in [false, true] {
        let store = if mysql { ("MYSQL_HOST", "::1") } else { ("REDIS_HOST", "::1") };
        let all = settings("voting-storage", &[]).await;
        for setting in all.iter().filter(|one| one.name().starts_with("MYSQL") == mysql) {
            let (_, value, allowed) = INVALID
                .iter()
                .find(|(of, ..)| *of == setting.name())
                .unwrap_or_else(|| panic!("{}: add it to INVALID", setting.name()));
            let variables = [(store.0, OsStr::new(store.1)), (setting.name(), OsStr::from_bytes(value))];
            let variables = if store.0 == setting.name() { &variables[1..] } else { &variables[..] };
            let ended = run("voting-storage", &["tally".into()], variables).await;
            check(setting.name(), setting.name(), allowed, ended);
        }
    }
    for command in ["migrate", "tally", "reset", "check", "transfer", "new-origin", "export", "import"] {
        let valid = [("STORAGE_URL", "redis://[::1]:1"), ("FROM_URL", "redis"), ("TO_URL", "mysql")];
        let only_own: Vec<_> = settings("voting-storage", &[command]).await;
        assert_eq!(only_own.len() >= 3, command == "transfer", "{only_own:?}");
        every_setting_is_checked("voting-storage", &[command], &valid).await;
    }
    let (variables, file) =
        ([("RUST_LOG", OsStr::new("info=loud"))], tempfile::NamedTempFile::new().unwrap());
    let ended = run("voting-storage", &["tally".into()], &variables).await;
    check("RUST_LOG", "RUST_LOG", "allowed: a level", ended);
    let store = [("STORAGE_URL", OsStr::new("redis://[::1]:1"))];
    for (path, text) in [
        (OsStr::new("/dev/null/backup"), None),
        (file.path().as_os_str(), Some(&b"\xff"[..])),
        (file.path().as_os_str(), Some(b"")),
        (file.path().as_os_str(), Some(b"{\"format\":\"voting-storage\",\"version\":1}\n{}")),
        (file.path().as_os_str(), Some(b"{\"format\":\"voting-storage\",\"version\":1}\n{\"choice\":\"Cats\",\"origin\":\"6b1b4ca2-9a0b-4c3e-8a52-0c5d8f4f6a11\",\"votes\":1,\"reset\":2}")),
    ] {
        if let Some(text) = text {
            std::fs::write(file.path(), text).unwrap();
        }
        let ended = run("voting-storage", &["import".into(), path.to_owned()], &store).await;
        check(&format!("{text:?}"), path.to_str().unwrap(), "allowed: ", ended);
    }
}

#[tokio::test]
async fn every_wrong_use_of_an_argument_is_answered_with_what_is_allowed() {
    for (program, arguments, name, allowed) in [
        ("voting-app", &["--nonsense"][..], "--nonsense", "allowed: the arguments that --help lists"),
        ("voting-app", &["--port"], "PORT", "allowed: Port of the service"),
        ("voting-app", &["--port", "1", "--port", "2"], "PORT", "allowed: once"),
        ("voting-app", &["serve"], "serve", "allowed: check"),
        ("voting-analytics", &["check", "--admin-port", "0"], "--admin-port", "allowed: "),
        (
            "voting-storage",
            &["delete"],
            "delete",
            "allowed: migrate, tally, reset, check, transfer, new-origin, export, import",
        ),
        ("voting-storage", &["--redis-host", "a"], "command", "allowed: migrate, tally, "),
        ("voting-storage", &[], "a command is missing", "allowed: migrate, tally, "),
        (
            "voting-storage",
            &["tally", "--storage-url", "redis://cache"],
            "--storage-url",
            "allowed: before the command",
        ),
        (
            "voting-storage",
            &["transfer"],
            "FROM_URL, TO_URL",
            "allowed: The source: a URL, or redis or mysql",
        ),
        ("voting-storage", &["import"], "<FILE>", "allowed: File to read, or `-`"),
        (
            "voting-storage",
            &["tally"],
            "STORAGE_URL",
            "allowed: the URL of a store, or one of REDIS_HOST and MYSQL_HOST",
        ),
        (
            "voting-storage",
            &["--redis-host", "a", "--mysql-host", "b", "tally"],
            "MYSQL_HOST",
            "allowed: one of the two",
        ),
        ("voting-local", &["--step", "3", "--locked"], "STEP", "allowed: 2"),
        (
            "ledger",
            &["--voters", "0", "--url", "http://x"],
            "--voters",
            "allowed: a whole number from 1 to 2000",
        ),
        ("ledger", &["--nemesis", "--minutes", "x"], "--minutes", "allowed: a whole number from 1 to 10000"),
        ("ledger", &["--nemesis", "--store", "x"], "--store", "allowed: redis, mysql, sqlite"),
        ("ledger", &[], "--url", "allowed: URL of the page"),
        ("ledger", &["--faults", "--retry"], "--faults", "allowed: one of them"),
        ("ledger", &["--url", "http://x", "--choices", "Cats"], "--choices", "allowed: 2"),
    ] {
        let own: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        check(&format!("{program} {arguments:?}"), name, allowed, run(program, &own, &[]).await);
    }
    let own = ["test", "--starved", "--runs", "0"].map(OsString::from);
    let (success, stderr, _) = run("xtask", &own, &[]).await;
    assert!(
        !success && stderr.contains("--runs") && stderr.contains("allowed: a whole number from 1"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_file_that_is_not_a_regular_one_is_rejected_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&pipe, &link).unwrap();
    for file in [&pipe, &link, &folder.path().to_owned()] {
        let shown = file.to_str().unwrap();
        for parameter in ["ssl-ca", "ssl-cert", "ssl-key"] {
            let url = format!("mysql://u@127.0.0.1:1/d?ssl-mode=VERIFY_CA&{parameter}={shown}");
            for program in ["voting-app", "voting-storage"] {
                let command: &[OsString] = if program == "voting-app" { &[] } else { &["check".into()] };
                let variables = [("STORAGE_URL", OsStr::new(&url)), ("RELEASE", OsStr::new("2.0"))];
                let ended = run(program, command, &variables).await;
                assert!(ended.1.contains("not a regular file"), "{ended:?}");
                check(&url, parameter, "in PEM", ended);
            }
        }
        for (variable, store, allowed) in [
            ("REDIS_PASSWORD_FILE", "redis://127.0.0.1:1", PASSWORD_FILE),
            ("MYSQL_PASSWORD_FILE", "mysql://u@127.0.0.1:1/d", PASSWORD_FILE),
            (
                "MYSQL_SSL_CA",
                "mysql://u@127.0.0.1:1/d?ssl-mode=VERIFY_CA",
                "allowed: a file with certificates",
            ),
        ] {
            let variables = [(variable, file.as_os_str()), ("STORAGE_URL", OsStr::new(store))];
            let ended = run("voting-storage", &["check".into()], &variables).await;
            assert!(ended.1.contains("not a regular file"), "{ended:?}");
            check(variable, variable, allowed, ended);
        }
    }
}

#[tokio::test]
async fn a_long_value_is_shortened() {
    // A variable may have up to 128 KiB.
    let (digits, letters) = ("1".repeat(100_000), "a".repeat(100_000));
    let host = "a.".repeat(126) + "aa";
    let url = format!("redis://{host}:1");
    for (variables, arguments, name) in [
        (&[("REDIS_PORT", &digits)][..], &["check"][..], "REDIS_PORT"),
        (&[("REDIS_HOST", &letters)], &["check"], "REDIS_HOST"),
        (&[("REDIS_HOST", &host)], &["check"], "REDIS_HOST"),
        (&[("STORAGE_URL", &url)], &["check"], "STORAGE_URL"),
        (&[("MYSQL_HOST", &"db".to_owned()), ("MYSQL_DATABASE", &letters)], &["check"], "MYSQL_DATABASE"),
        (
            &[("REDIS_HOST", &"db".to_owned()), ("REDIS_PASSWORD_FILE", &letters)],
            &["check"],
            "REDIS_PASSWORD_FILE",
        ),
        (&[("RUST_LOG", &letters)], &["check"], "RUST_LOG"),
        (&[("VOTE1VALUE", &letters)], &["check"], "VOTE1VALUE"),
        (&[], &[&letters], "is not a command"),
        (&[], &["check", &letters], "unexpected argument"),
        (&[("STORAGE_URL", &"redis://127.0.0.1:1".to_owned())], &["import", &letters], "can't be read"),
    ] {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (*name, OsStr::new(value.as_str()))).collect();
        let own: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let ended = run("voting-storage", &own, &variables).await;
        assert!(ended.1.len() < 1000, "{name}: {} bytes", ended.1.len());
        check(name, name, "", ended);
    }
    let ended = run("voting-app", &[], &[("ANALYTICS_HOST", OsStr::new(&host))]).await;
    check("ANALYTICS_HOST", "ANALYTICS_HOST", "of up to 253 characters", ended);
}
