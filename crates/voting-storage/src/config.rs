//! Settings that name the poll and its store, and the reading of all settings.
//!
//! Every setting is an environment variable and a flag. A program declares its settings as a `clap` parser and reads
//! them with [`parse`], so that a value that can't be used stops every program with the same one line.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser};
use secrecy::{ExposeSecret as _, SecretString};

use crate::poll::{Choice, Choices, EqualChoices};
use crate::store::StoreKind;
use crate::url::StoreUrl;

/// What can be voted for.
#[derive(Args, Clone, Debug)]
pub struct PollArgs {
    /// Name of the first choice: 1 to 100 characters.
    #[arg(long, env = "VOTE1VALUE", value_name = "NAME", default_value = "Cats")]
    pub vote1value: Choice,

    /// Name of the second choice; another than the first.
    #[arg(long, env = "VOTE2VALUE", value_name = "NAME", default_value = "Dogs")]
    pub vote2value: Choice,
}

impl PollArgs {
    /// The poll.
    ///
    /// # Errors
    /// [`InvalidSetting`]: the two names are equal.
    pub fn choices(self) -> Result<Choices, InvalidSetting> {
        Choices::new(self.vote1value, self.vote2value).map_err(|EqualChoices(name)| {
            InvalidSetting::of("VOTE2VALUE", &name, "equals VOTE1VALUE; allowed: two different names")
        })
    }
}

/// Where the votes are kept.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// URL of the store, instead of the variables below: redis://HOST:PORT, rediss://HOST:PORT (TLS),
    /// redis+cluster://HOST:PORT?parts=N (a Redis Cluster, N of whose hash slots share the poll),
    /// mysql://USER:PASSWORD@HOST:PORT/DATABASE (with ?ssl-mode=VERIFY_IDENTITY for TLS) or sqlite:FILE. Several of one
    /// kind with blanks between them: the poll is split over these, the same ones for every program.
    #[arg(long, env = "STORAGE_URL", value_name = "URL", hide_env_values = true)]
    pub storage_url: Option<StoreUrl>,

    /// Host of Redis.
    #[arg(long, env = "REDIS_HOST", value_name = "HOST", default_value = "localhost")]
    pub redis_host: String,

    /// Port of Redis.
    #[arg(long, env = "REDIS_PORT", value_name = "PORT", default_value_t = 6379, value_parser = port())]
    pub redis_port: u16,

    /// Host of MySQL or MariaDB.
    #[arg(long, env = "MYSQL_HOST", value_name = "HOST", default_value = "localhost")]
    pub mysql_host: String,

    /// Port of MySQL.
    #[arg(long, env = "MYSQL_PORT", value_name = "PORT", default_value_t = 3306, value_parser = port())]
    pub mysql_port: u16,

    /// User of MySQL.
    #[arg(long, env = "MYSQL_USER", value_name = "NAME", default_value = "dbuser")]
    pub mysql_user: String,

    /// Password of that user, and of the user in a mysql: URL that has none.
    #[arg(
        long,
        env = "MYSQL_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub mysql_password: SecretString,

    /// File that holds this password, such as a mounted secret, instead of MYSQL_PASSWORD.
    #[arg(long, env = "MYSQL_PASSWORD_FILE", value_name = "FILE")]
    pub mysql_password_file: Option<PathBuf>,

    /// Database in MySQL; it must be there, its tables are made.
    #[arg(long, env = "MYSQL_DATABASE", value_name = "NAME", default_value = "azurevote")]
    pub mysql_database: String,
}

impl StoreArgs {
    /// The URL of the store: `STORAGE_URL`, else what the variables of this kind of store say.
    ///
    /// # Errors
    /// [`InvalidSetting`]: a host or a name that can't stand in a URL, a password that can't be read, or no variables
    /// for this kind.
    pub fn url(&self, kind: StoreKind) -> Result<StoreUrl, InvalidSetting> {
        if let Some(url) = &self.storage_url {
            return self.with_password(url);
        }
        let no_host = |variable: &str, host: &str| {
            InvalidSetting::of(variable, host, "is not a host; allowed: a host name or an IP address")
        };
        match kind {
            StoreKind::Redis => StoreUrl::redis(&self.redis_host, self.redis_port)
                .map_err(|_| no_host("REDIS_HOST", &self.redis_host)),
            StoreKind::MySql => StoreUrl::mysql(
                &self.mysql_host,
                self.mysql_port,
                &self.mysql_user,
                &self.password()?,
                &self.mysql_database,
            )
            .map_err(|_| no_host("MYSQL_HOST", &self.mysql_host)),
            StoreKind::Sqlite => {
                Err(InvalidSetting::of("STORAGE_URL", "", "is not set; allowed: the URL of a store"))
            }
        }
    }

    /// A URL that was given; one of MySQL without a password gets the one of these settings.
    ///
    /// # Errors
    /// [`InvalidSetting`]: the password can't be read.
    pub fn with_password(&self, url: &StoreUrl) -> Result<StoreUrl, InvalidSetting> {
        if url.lacks_password() { Ok(url.with_password(&self.password()?)) } else { Ok(url.clone()) }
    }

    /// The password of MySQL.
    fn password(&self) -> Result<SecretString, InvalidSetting> {
        let Some(file) = &self.mysql_password_file else {
            return Ok(self.mysql_password.clone());
        };
        let wrong = |wrong: String| InvalidSetting::of("MYSQL_PASSWORD_FILE", &file.to_string_lossy(), wrong);
        if !self.mysql_password.expose_secret().is_empty() {
            return Err(wrong("is set beside MYSQL_PASSWORD; allowed: one of the two".to_owned()));
        }
        let text = std::fs::read_to_string(file).map_err(|error| {
            wrong(format!("can't be read ({error}); allowed: a file that holds the password"))
        })?;
        // Editors and `echo` end a file with a line break, which is no part of the password.
        Ok(text.trim_end_matches(['\r', '\n']).into())
    }
}

/// A setting that can't be used, in one line: its variable, what it held (unless that may be a secret), what is
/// allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSetting(String);

impl InvalidSetting {
    /// `value` of the variable, and what is wrong with it and allowed instead.
    pub fn of(variable: &str, value: &str, wrong: impl fmt::Display) -> Self {
        Self(format!("{variable}: {value:?} {wrong}"))
    }
}

/// A port to connect to or to listen on.
pub fn port() -> impl clap::builder::TypedValueParser<Value = u16> {
    use clap::builder::TypedValueParser as _;
    clap::builder::StringValueParser::new()
        .try_map(|text| text.parse::<u16>().map_err(|_| "is not a port; allowed: a number from 0 to 65535"))
}

/// Reads the settings of a program from its arguments and environment. `--help` and `--version` print and end the
/// program.
///
/// # Errors
/// [`InvalidSetting`], to be printed as it is.
pub fn parse<P: Parser>() -> Result<P, InvalidSetting> {
    parse_from(std::env::args_os())
}

/// [`parse`] with these arguments.
///
/// # Errors
/// [`InvalidSetting`].
pub fn parse_from<P: Parser>(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<P, InvalidSetting> {
    match P::try_parse_from(arguments) {
        Ok(settings) => Ok(settings),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp
                    | ErrorKind::DisplayVersion
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            ) =>
        {
            error.exit()
        }
        Err(error) => Err(one_line::<P>(&error)),
    }
}

fn one_line<P: Parser>(error: &clap::Error) -> InvalidSetting {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (Some(flag), Some(value)) = (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue))
    else {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        return InvalidSetting(format!("{}; see --help", first.trim_start_matches("error: ")));
    };
    let name = flag.trim_start_matches('-').split(' ').next().unwrap_or_default();
    let command = P::command();
    let argument = all_arguments(&command).into_iter().find(|argument| argument.get_long() == Some(name));
    let shown = if argument.is_some_and(clap::Arg::is_hide_env_values_set) {
        "(not shown)".to_owned()
    } else {
        format!("{value:?}")
    };
    let variable = argument
        .and_then(|argument| argument.get_env())
        .map_or_else(|| flag.to_owned(), |variable| variable.to_string_lossy().into_owned());
    let wrong = match (std::error::Error::source(error), error.get(ContextKind::ValidValue)) {
        (Some(wrong), _) => wrong.to_string(),
        (None, Some(allowed)) => format!("is not allowed; allowed: {allowed}"),
        (None, None) => "is not allowed".to_owned(),
    };
    InvalidSetting(format!("{variable}: {shown} {wrong}"))
}

fn all_arguments(command: &clap::Command) -> Vec<&clap::Arg> {
    let own = command.get_arguments();
    own.chain(command.get_subcommands().flat_map(all_arguments)).collect()
}

#[cfg(test)]
mod tests {
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
    fn what_cannot_be_used_is_one_line_with_the_variable() {
        assert_eq!(
            error(&["--redis-port", "tcp://10.0.0.1:6379"]),
            "REDIS_PORT: \"tcp://10.0.0.1:6379\" is not a port; allowed: a number from 0 to 65535",
        );
        assert_eq!(
            error(&["--vote1value", "x", "--vote2value", "x"]),
            "VOTE2VALUE: \"x\" equals VOTE1VALUE; allowed: two different names",
        );
        assert_eq!(error(&["--vote1value", " "]), "VOTE1VALUE: \" \" is empty; allowed: 1 to 100 characters");
        assert_eq!(error(&["--nonsense"]), "unexpected argument '--nonsense' found; see --help");
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
        let arguments = ["program"].iter().chain(arguments).copied();
        let store = parse_from::<Settings>(arguments).map_err(|error| error.to_string())?.store;
        let url = store.url(StoreKind::MySql).map_err(|error| error.to_string())?;
        Ok(url.expose().to_owned())
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
        let full = url(&["--storage-url", "mysql://u:own@h/d", "--mysql-password-file", name]);
        assert_eq!(full.unwrap(), "mysql://u:own@h/d");
        let both = url(&["--mysql-password", "secret", "--mysql-password-file", name]).unwrap_err();
        assert_eq!(
            both,
            format!("MYSQL_PASSWORD_FILE: {name:?} is set beside MYSQL_PASSWORD; allowed: one of the two")
        );
        std::fs::remove_file(&file).unwrap();
        let gone = url(&["--mysql-password-file", name]).unwrap_err();
        assert_eq!(
            gone,
            format!(
                "MYSQL_PASSWORD_FILE: {name:?} can't be read (No such file or directory (os error 2)); allowed: a file that holds the password"
            )
        );
    }

    #[test]
    fn the_help_shows_no_secret() {
        let mut command = <Settings as clap::CommandFactory>::command();
        let help = command.render_long_help().to_string();
        assert!(help.contains("MYSQL_PASSWORD") && !help.contains("MYSQL_PASSWORD="), "{help}");
    }
}
