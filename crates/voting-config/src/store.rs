//! The settings of the store.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use voting_core::StoreKind;
use voting_storage::{InvalidStoreUrl, StoreUrl};

use crate::setting::InvalidSetting;
use crate::value::{host, port, switch};

/// The store of the votes.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// URL of the store, instead of the settings below: redis://HOST:PORT, rediss://HOST:PORT (TLS),
    /// redis+cluster://HOST:PORT?parts=N (a Redis Cluster, N of whose hash slots share the poll),
    /// mysql://USER:PASSWORD@HOST:PORT/DATABASE (with ?ssl-mode=VERIFY_IDENTITY for TLS) or sqlite:FILE. Several URLs of
    /// one kind, separated by spaces, shard the poll over these stores; list the same ones in every program.
    #[arg(long, env = "STORAGE_URL", value_name = "URL", hide_env_values = true)]
    pub storage_url: Option<StoreUrl>,

    /// Host of Redis. [default: localhost]
    #[arg(long, env = "REDIS_HOST", value_name = "HOST", value_parser = host())]
    pub redis_host: Option<String>,

    /// Port of Redis.
    #[arg(long, env = "REDIS_PORT", value_name = "PORT", default_value_t = 6379, value_parser = port())]
    pub redis_port: u16,

    /// Password of Redis, also for a redis: URL without a password.
    #[arg(
        long,
        env = "REDIS_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub redis_password: SecretString,

    /// File with this password, such as a mounted secret, instead of REDIS_PASSWORD.
    #[arg(long, env = "REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,

    /// Take ballots even while Redis may evict ballot ids and counts under a maxmemory-policy allkeys-*: true or false. If
    /// true, ballots may count twice and votes may be lost.
    #[arg(long, env = "REDIS_ALLOW_EVICTION", value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", value_parser = switch())]
    pub redis_allow_eviction: bool,

    /// Host of MySQL or MariaDB. [default: localhost]
    #[arg(long, env = "MYSQL_HOST", value_name = "HOST", value_parser = host())]
    pub mysql_host: Option<String>,

    /// Port of MySQL.
    #[arg(long, env = "MYSQL_PORT", value_name = "PORT", default_value_t = 3306, value_parser = port())]
    pub mysql_port: u16,

    /// User of MySQL.
    #[arg(long, env = "MYSQL_USER", value_name = "NAME", default_value = "dbuser")]
    pub mysql_user: String,

    /// Password of this user, and of the user in a mysql: URL without a password.
    #[arg(
        long,
        env = "MYSQL_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub mysql_password: SecretString,

    /// File with this password, such as a mounted secret, instead of MYSQL_PASSWORD.
    #[arg(long, env = "MYSQL_PASSWORD_FILE", value_name = "FILE")]
    pub mysql_password_file: Option<PathBuf>,

    /// MySQL database. Must exist; tables are created on first use.
    #[arg(long, env = "MYSQL_DATABASE", value_name = "NAME", default_value = "azurevote")]
    pub mysql_database: String,
}

/// A store as the value of a setting: a URL, or the store that other settings describe, so that no secret has to be pasted
/// into a URL.
#[derive(Clone, Debug)]
pub enum StoreChoice {
    /// A URL.
    Url(StoreUrl),
    /// The store of the settings of this kind: `REDIS_HOST` and so on, or `MYSQL_HOST` and so on.
    Settings(StoreKind),
}

impl FromStr for StoreChoice {
    type Err = InvalidStoreChoice;

    fn from_str(text: &str) -> Result<Self, InvalidStoreChoice> {
        match text.trim() {
            "redis" => Ok(Self::Settings(StoreKind::Redis)),
            "mysql" => Ok(Self::Settings(StoreKind::MySql)),
            url => url.parse().map(Self::Url).map_err(InvalidStoreChoice),
        }
    }
}

/// A text is not a [`StoreChoice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; or redis or mysql, for the store of the settings REDIS_HOST or MYSQL_HOST and the like")]
pub struct InvalidStoreChoice(InvalidStoreUrl);

/// Default of `REDIS_HOST` and `MYSQL_HOST`.
const LOCALHOST: &str = "localhost";

impl StoreArgs {
    /// The URL of a service's store: `STORAGE_URL`, else the one that the settings of this kind of store describe.
    ///
    /// # Errors
    /// [`InvalidSetting`]: an invalid host, an unreadable password file, or a kind without settings.
    pub fn url(&self, kind: StoreKind) -> Result<StoreUrl, InvalidSetting> {
        match &self.storage_url {
            Some(url) => self.completed(url),
            None => self.url_of(kind),
        }
    }

    /// The URL of a tool's store: `STORAGE_URL`, else the one whose host is set.
    ///
    /// # Errors
    /// [`InvalidSetting`]: those of [`StoreArgs::url`], or the settings select no store or both.
    pub fn selected_url(&self) -> Result<StoreUrl, InvalidSetting> {
        match (&self.storage_url, &self.redis_host, &self.mysql_host) {
            (Some(url), ..) => self.completed(url),
            (None, Some(_), None) => self.url_of(StoreKind::Redis),
            (None, None, Some(_)) => self.url_of(StoreKind::MySql),
            _ => Err(InvalidSetting::of(
                "STORAGE_URL",
                "",
                "does not select a store; allowed: the URL of a store, or one of REDIS_HOST and MYSQL_HOST",
            )),
        }
    }

    /// The URL of this store.
    ///
    /// # Errors
    /// Those of [`StoreArgs::url`].
    pub fn chosen_url(&self, choice: &StoreChoice) -> Result<StoreUrl, InvalidSetting> {
        match choice {
            StoreChoice::Url(url) => self.completed(url),
            StoreChoice::Settings(kind) => self.url_of(*kind),
        }
    }

    /// This URL, with the settings that apply to any URL: the password, if the URL has none, and `REDIS_ALLOW_EVICTION`.
    ///
    /// # Errors
    /// [`InvalidSetting`]: the password file is unreadable.
    pub fn completed(&self, url: &StoreUrl) -> Result<StoreUrl, InvalidSetting> {
        let url = if url.lacks_password() { self.with_password(url)? } else { url.clone() };
        Ok(url.allowing_eviction(self.redis_allow_eviction))
    }

    fn url_of(&self, kind: StoreKind) -> Result<StoreUrl, InvalidSetting> {
        let host = |host: &Option<String>| host.clone().unwrap_or_else(|| LOCALHOST.to_owned());
        let no_host = |variable: &str, host: &str| {
            InvalidSetting::of(variable, host, "is not a host; allowed: a host name or an IP address")
        };
        match kind {
            StoreKind::Redis => {
                let host = host(&self.redis_host);
                let url =
                    StoreUrl::redis(&host, self.redis_port).map_err(|_| no_host("REDIS_HOST", &host))?;
                self.completed(&url)
            }
            StoreKind::MySql => {
                let (host, password) = (host(&self.mysql_host), self.mysql_password()?);
                StoreUrl::mysql(&host, self.mysql_port, &self.mysql_user, &password, &self.mysql_database)
                    .map_err(|_| no_host("MYSQL_HOST", &host))
            }
            StoreKind::Sqlite => {
                Err(InvalidSetting::of("STORAGE_URL", "", "is not set; allowed: the URL of a store"))
            }
        }
    }

    fn with_password(&self, url: &StoreUrl) -> Result<StoreUrl, InvalidSetting> {
        Ok(match url.kind() {
            StoreKind::Redis => {
                let password = self.redis_password()?;
                // Redis takes an empty password for one.
                if password.expose_secret().is_empty() { url.clone() } else { url.with_password(&password) }
            }
            StoreKind::MySql => url.with_password(&self.mysql_password()?),
            StoreKind::Sqlite => url.clone(),
        })
    }

    fn redis_password(&self) -> Result<SecretString, InvalidSetting> {
        password("REDIS_PASSWORD", &self.redis_password, self.redis_password_file.as_deref())
    }

    fn mysql_password(&self) -> Result<SecretString, InvalidSetting> {
        password("MYSQL_PASSWORD", &self.mysql_password, self.mysql_password_file.as_deref())
    }
}

/// The password of a variable, or in the file of the variable with `_FILE`.
fn password(
    variable: &str,
    password: &SecretString,
    file: Option<&Path>,
) -> Result<SecretString, InvalidSetting> {
    let Some(file) = file else {
        return Ok(password.clone());
    };
    let invalid =
        |reason: String| InvalidSetting::of(&format!("{variable}_FILE"), &file.to_string_lossy(), reason);
    if !password.expose_secret().is_empty() {
        return Err(invalid(format!("conflicts with {variable}; allowed: one of the two")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| {
        invalid(format!("can't be read ({error}); allowed: a file with the password in UTF-8"))
    })?;
    // Some editors begin a file with a byte order mark; editors and `echo` end it with a line break. Neither is part of
    // the password.
    Ok(text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']).into())
}
