//! Settings: every one is an environment variable and a flag.
//!
//! A program declares its settings as a `clap` parser and reads them with [`parse`], so that an invalid value stops every
//! program with the same one-line error.
//!
//! - [`PollArgs`]: the choices. [`StoreArgs`]: the store.
//! - [`StoreChoice`]: one of several stores. [`print()`]: a result on the standard output. [`log_filter`]: `RUST_LOG`.
//! - [`InvalidSetting`]: the one-line error. [`shortened`]: a text in it. [`runtime()`]: the runtime of a program.
//! - [`number`], [`port`], [`listen_port`], [`address`], [`host`], [`switch`]: values. [`url_host`]: a host in a URL.

mod log;
mod output;
mod poll;
mod runtime;
mod setting;
mod store;
mod value;

pub use log::log_filter;
pub use output::print;
pub use poll::PollArgs;
pub use runtime::runtime;
pub use setting::{InvalidSetting, parse, parse_from, shortened};
pub use store::{InvalidStoreChoice, StoreArgs, StoreChoice};
pub use value::{address, has_user, host, listen_port, number, port, switch, url_host};

#[cfg(test)]
mod tests {
    use clap::Parser;
    use voting_core::StoreKind;

    use super::*;

    #[derive(Parser, Debug)]
    struct Settings {
        #[command(flatten)]
        poll: PollArgs,
        #[command(flatten)]
        store: StoreArgs,
    }

    fn error(arguments: &[&str]) -> String {
        let arguments = ["program"].iter().chain(arguments).copied();
        parse_from::<Settings>(arguments).map(|settings| settings.poll.choices()).map_or_else(
            |error| error.to_string(),
            |choices| choices.expect_err("the settings are valid").to_string(),
        )
    }

    #[test]
    fn an_invalid_value_is_one_line_with_the_variable() {
        assert_eq!(
            error(&["--redis-port", "tcp://10.0.0.1:6379"]),
            "REDIS_PORT: \"tcp://10.0.0.1:6379\" is not a port; allowed: a number from 1 to 65535",
        );
        assert_eq!(
            error(&["--vote1value", "x", "--vote2value", "x"]),
            "VOTE2VALUE: \"x\" equals VOTE1VALUE; allowed: two different names",
        );
        assert_eq!(
            error(&["--vote1value", "x", "--vote2value", "Ｘ"]),
            "VOTE2VALUE: \"Ｘ\" looks like VOTE1VALUE, \"x\"; allowed: two names that differ in more than case, white space, \
             width and invisible characters",
        );
        assert_eq!(
            error(&["--vote2value", "\u{200b}"]),
            "VOTE2VALUE: \"\\u{200b}\" shows nothing; allowed: 1 to 100 characters that are not all invisible",
        );
        assert_eq!(error(&["--vote1value", " "]), "VOTE1VALUE: \" \" is empty; allowed: 1 to 100 characters");
        assert_eq!(
            error(&["--nonsense"]),
            "unexpected argument \"--nonsense\"; allowed: the arguments that --help lists"
        );
    }

    #[test]
    fn a_url_that_may_hold_a_password_is_not_repeated() {
        let error = error(&["--storage-url", "mysqll://user:secret@db/votes"]);
        assert!(
            error.starts_with("STORAGE_URL: (not shown) is not the URL of a store; allowed: redis://"),
            "{error}"
        );
        assert!(!error.contains("secret"));
    }

    fn url(arguments: &[&str]) -> Result<String, String> {
        url_of(StoreKind::MySql, arguments)
    }

    fn url_of(kind: StoreKind, arguments: &[&str]) -> Result<String, String> {
        let arguments = ["program"].iter().chain(arguments).copied();
        let store = parse_from::<Settings>(arguments).map_err(|error| error.to_string())?.store;
        let url = store.url(kind).map_err(|error| error.to_string())?;
        Ok(url.expose().unwrap_or_default())
    }

    #[test]
    fn a_password_may_be_in_a_file_and_is_used_where_a_url_has_none() {
        let file = std::env::temp_dir().join(format!("voting-password-{}", std::process::id()));
        std::fs::write(&file, "p@ss%\n").unwrap();
        let name = file.to_str().unwrap();
        let default = url(&["--mysql-password-file", name]);
        assert_eq!(default.unwrap(), "mysql://dbuser:p%40ss%25@localhost:3306/azurevote");
        let bare = url(&["--storage-url", "mysql://u@h/d", "--mysql-password-file", name]);
        assert_eq!(bare.unwrap(), "mysql://u:p%40ss%25@h/d");
        let bare = url(&["--storage-url", "mysql://u@h/d?ssl-mode=REQUIRED", "--mysql-password", "x"]);
        assert_eq!(bare.unwrap(), "mysql://u:x@h/d?ssl-mode=REQUIRED");
        let both = url(&["--mysql-password", "secret", "--mysql-password-file", name]).unwrap_err();
        assert_eq!(
            both,
            format!("MYSQL_PASSWORD_FILE: {name:?} conflicts with MYSQL_PASSWORD; allowed: one of the two")
        );
        for (bare, full) in [
            ("rediss://cache:10000", "rediss://:p%40ss%25@cache:10000"),
            ("rediss+cluster://app@cache:10000?parts=16", "rediss://app:p%40ss%25@cache:10000"),
        ] {
            assert_eq!(url(&["--storage-url", bare, "--redis-password-file", name]).unwrap(), full);
            assert_eq!(url(&["--storage-url", bare, "--redis-password", "p@ss%"]).unwrap(), full);
        }
        assert_eq!(url(&["--storage-url", "redis://cache"]).unwrap(), "redis://cache");
        std::fs::remove_file(&file).unwrap();
        let gone = url(&["--mysql-password-file", name]).unwrap_err();
        assert_eq!(
            gone,
            format!(
                "MYSQL_PASSWORD_FILE: {name:?} can't be read (No such file or directory (os error 2)); allowed: a file with the password in UTF-8"
            )
        );
    }

    #[test]
    fn redis_has_a_user_and_tls_by_settings_as_by_its_url() {
        let redis = |arguments: &[&str]| url_of(StoreKind::Redis, arguments);
        let (host, user) = (["--redis-host", "cache"], ["--redis-user", "v@ter"]);
        let with = |more: &[&str]| redis(&[&host, &user, more].concat());
        assert_eq!(with(&["--redis-password", "x%"]).unwrap(), "redis://v%40ter:x%25@cache:6379");
        let tls = with(&["--redis-pwd", "x", "--redis-tls", "--redis-port", "6380"]);
        assert_eq!(tls.unwrap(), "rediss://v%40ter:x@cache:6380");
        let shards = ["--storage-url", "redis://a redis://v%40ter@b", "--redis-password", "x"];
        redis(&[&shards, &user[..]].concat()).unwrap();
        let cluster = ["--storage-url", "rediss+cluster://a", "--redis-password", "x", "--redis-tls", "true"];
        assert_eq!(redis(&[&cluster, &user[..]].concat()).unwrap(), "rediss://v%40ter:x@a");
        // The driver would log in as the default user.
        for alone in [&user[..], &["--storage-url", "redis://voter@cache"]] {
            let error = redis(alone).unwrap_err();
            assert!(
                error.starts_with("REDIS_USER: ") && error.contains("allowed: a user with REDIS_PASSWORD"),
                "{error}"
            );
        }
    }

    #[test]
    fn settings_that_conflict_are_named() {
        let file = std::env::temp_dir().join(format!("voting-conflict-{}", std::process::id()));
        std::fs::write(&file, "secret").unwrap();
        let name = file.to_str().unwrap();
        for (arguments, variables) in [
            (&["--redis-password", "secret", "--redis-pwd", "secret"][..], ["REDIS_PWD", "REDIS_PASSWORD"]),
            (&["--redis-pwd", "secret", "--redis-password-file", name], ["REDIS_PASSWORD_FILE", "REDIS_PWD"]),
            (
                &["--redis-password", "secret", "--redis-password-file", name],
                ["REDIS_PASSWORD_FILE", "REDIS_PASSWORD"],
            ),
            (
                &["--storage-url", "redis://:secret@h", "--redis-password", "secret"],
                ["STORAGE_URL", "REDIS_PASSWORD"],
            ),
            (&["--storage-url", "redis://:secret@h", "--redis-pwd", "secret"], ["STORAGE_URL", "REDIS_PWD"]),
            (
                &["--storage-url", "redis://:secret@h", "--redis-password-file", name],
                ["STORAGE_URL", "REDIS_PASSWORD_FILE"],
            ),
            (&["--storage-url", "redis://a:secret@h", "--redis-user", "b"], ["STORAGE_URL", "REDIS_USER"]),
            (&["--storage-url", "redis://h", "--redis-tls"], ["STORAGE_URL", "REDIS_TLS"]),
            (&["--storage-url", "rediss://a redis://b", "--redis-tls"], ["STORAGE_URL", "REDIS_TLS"]),
            (&["--storage-url", "rediss+cluster://h", "--redis-tls", "false"], ["STORAGE_URL", "REDIS_TLS"]),
            (
                &["--storage-url", "mysql://u:secret@h/d", "--mysql-password", "secret"],
                ["STORAGE_URL", "MYSQL_PASSWORD"],
            ),
            (
                &["--storage-url", "mysql://u:secret@h/d", "--mysql-password-file", name],
                ["STORAGE_URL", "MYSQL_PASSWORD_FILE"],
            ),
            (
                &["--storage-url", "mysql://u@h/d?sslmode=DISABLED", "--mysql-ssl-mode", "required"],
                ["STORAGE_URL", "MYSQL_SSL_MODE"],
            ),
            (
                &["--storage-url", "mysql://u@h/d?ssl-mode=VERIFY_CA&ssl-ca=x", "--mysql-ssl-ca", name],
                ["STORAGE_URL", "MYSQL_SSL_CA"],
            ),
        ] {
            let error = url_of(StoreKind::Redis, arguments).unwrap_err();
            let [of, with] = variables;
            assert!(error.starts_with(&format!("{of}: ")), "{arguments:?}: {error}");
            assert!(error.contains(&format!("conflicts with {with}; allowed: one of the two")), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn mysql_has_tls_by_settings_as_by_its_url() {
        let ca = std::env::temp_dir().join(format!("voting-ca-{}", std::process::id()));
        std::fs::write(&ca, "").unwrap();
        let name = ca.to_str().unwrap();
        let default = url(&["--mysql-ssl-mode", "verify_identity", "--mysql-ssl-ca", name]);
        let parameters = format!("ssl-mode=VERIFY_IDENTITY&ssl-ca={}", name.replace('/', "%2F"));
        assert_eq!(default.unwrap(), format!("mysql://dbuser@localhost:3306/azurevote?{parameters}"));
        let same = ["--storage-url", "mysql://u@h/d?sslmode=verify_ca", "--mysql-ssl-mode", "VERIFY_CA"];
        assert_eq!(url(&same).unwrap(), "mysql://u@h/d?sslmode=verify_ca");
        for mode in [&[][..], &["--mysql-ssl-mode", "REQUIRED"]] {
            let unused = url(&[&["--mysql-ssl-ca", name], mode].concat()).unwrap_err();
            assert!(unused.contains("is not used; allowed: with MYSQL_SSL_MODE=VERIFY_CA"), "{unused}");
        }
        std::fs::remove_file(&ca).unwrap();
        let gone = url(&["--mysql-ssl-mode", "VERIFY_CA", "--mysql-ssl-ca", name]).unwrap_err();
        assert!(
            gone.starts_with("MYSQL_SSL_CA: ") && gone.contains("allowed: a file with certificates"),
            "{gone}"
        );
    }

    #[test]
    fn a_store_may_be_chosen_without_a_secret_in_a_url() {
        let store = parse_from::<Settings>([
            "program",
            "--redis-host",
            "cache",
            "--mysql-host",
            "db",
            "--mysql-password",
            "p/a#s?s%w rd",
        ]);
        let store = store.unwrap().store;
        let url = |choice: &str| {
            let url = store.chosen_url(&choice.parse().unwrap()).unwrap();
            url.expose().unwrap()
        };
        assert_eq!(url("redis"), "redis://cache:6379");
        assert_eq!(url("mysql"), "mysql://dbuser:p%2Fa%23s%3Fs%25w%20rd@db:3306/azurevote");
        assert_eq!(url("redis://other:1"), "redis://other:1");
        let error = "postgres".parse::<StoreChoice>().unwrap_err().to_string();
        assert!(
            error.starts_with("is not the URL of a store; allowed: ") && error.contains("redis or mysql"),
            "{error}"
        );
    }

    #[test]
    fn the_help_shows_no_secret() {
        let mut command = <Settings as clap::CommandFactory>::command();
        let help = command.render_long_help().to_string();
        assert!(help.contains("MYSQL_PASSWORD") && !help.contains("MYSQL_PASSWORD="), "{help}");
    }
}
