//! The settings of the store.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use voting_core::StoreKind;
use voting_storage::{InvalidStoreUrl, PasswordFile, Pem, StoreUrl, read_file};

use crate::setting::InvalidSetting;
use crate::value::{database, host, mysql_ssl_mode, port, switch};

/// The store of the votes.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// URL of the store, instead of the settings below: redis://HOST:PORT, rediss://HOST:PORT (TLS),
    /// redis+cluster://HOST:PORT?parts=N (a Redis Cluster, N of whose hash slots share the poll; 8 by default),
    /// mysql://USER:PASSWORD@HOST:PORT/DATABASE (with ?ssl-mode=VERIFY_IDENTITY for TLS) or sqlite:FILE. Several URLs of
    /// one kind, separated by spaces, shard the poll over these stores (not sqlite:); list the same ones in every program, in any
    /// order.
    #[arg(long, env = STORAGE_URL, value_name = "URL", hide_env_values = true)]
    pub storage_url: Option<StoreUrl>,

    /// Host of Redis. [default: localhost]
    #[arg(long, env = "REDIS_HOST", value_name = "HOST", value_parser = host())]
    pub redis_host: Option<String>,

    /// Port of Redis.
    #[arg(long, env = "REDIS_PORT", value_name = "PORT", default_value_t = 6379, value_parser = port())]
    pub redis_port: u16,

    /// User of Redis, also for a redis: URL without a user. [default: the user of a password alone]
    #[arg(long, env = "REDIS_USER", value_name = "NAME")]
    pub redis_user: Option<String>,

    /// Password of Redis, also for a redis: URL without a password.
    #[arg(
        long,
        env = REDIS_PASSWORD,
        value_name = "PASSWORD",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub redis_password: SecretString,

    /// The same as REDIS_PASSWORD, by its name in azure-vote.
    #[arg(
        long,
        env = REDIS_PWD,
        value_name = "PASSWORD",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub redis_pwd: SecretString,

    /// File with this password, such as a mounted secret, instead of REDIS_PASSWORD. Its content may change, as with tokens
    /// that expire: it is read again for each new connection and every second for the open ones. While it is empty, no
    /// login is attempted.
    #[arg(long, env = REDIS_PASSWORD_FILE, value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,

    /// Connect to Redis with TLS: true or false. In STORAGE_URL, rediss: stands for true. The authorities that may sign the
    /// server's certificate are those that the system trusts, or those in the file of the variable SSL_CERT_FILE or the folder of
    /// SSL_CERT_DIR. [default: false]
    #[arg(long, env = "REDIS_TLS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", value_parser = switch())]
    pub redis_tls: Option<bool>,

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
        env = MYSQL_PASSWORD,
        value_name = "PASSWORD",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub mysql_password: SecretString,

    /// File with this password, such as a mounted secret, instead of MYSQL_PASSWORD. Its content may change, as with tokens
    /// that expire: it is read again for each new connection and every second for the open ones. While it is empty, no
    /// login is attempted.
    #[arg(long, env = MYSQL_PASSWORD_FILE, value_name = "FILE")]
    pub mysql_password_file: Option<PathBuf>,

    /// TLS of MySQL, also for a mysql: URL without ssl-mode: DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY. The
    /// last two verify the server's certificate, and only they send tokens, such as those of Entra ID. [default: PREFERRED]
    #[arg(long, env = MYSQL_SSL_MODE, value_name = "MODE", value_parser = mysql_ssl_mode())]
    pub mysql_ssl_mode: Option<String>,

    /// File with the certificates (PEM) of the authorities that may sign the server's, also for a mysql: URL without ssl-ca.
    /// [default: those that the system trusts, or those of SSL_CERT_FILE or SSL_CERT_DIR]
    #[arg(long, env = MYSQL_SSL_CA, value_name = "FILE")]
    pub mysql_ssl_ca: Option<PathBuf>,

    /// MySQL database. Must exist; tables are created on first use.
    #[arg(long, env = "MYSQL_DATABASE", value_name = "NAME", default_value = "azurevote", value_parser = database())]
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

const STORAGE_URL: &str = "STORAGE_URL";
const REDIS_PASSWORD: &str = "REDIS_PASSWORD";
const REDIS_PWD: &str = "REDIS_PWD";
const REDIS_PASSWORD_FILE: &str = "REDIS_PASSWORD_FILE";
const MYSQL_PASSWORD: &str = "MYSQL_PASSWORD";
const MYSQL_PASSWORD_FILE: &str = "MYSQL_PASSWORD_FILE";
const MYSQL_SSL_MODE: &str = "MYSQL_SSL_MODE";
const MYSQL_SSL_CA: &str = "MYSQL_SSL_CA";
/// Of the library that reads the system's authorities.
const SSL_CERT_FILE: &str = "SSL_CERT_FILE";

/// Default of `REDIS_HOST` and `MYSQL_HOST`.
const LOCALHOST: &str = "localhost";

/// A variable with the password of a store, or with the file that has it.
#[derive(Clone, Copy)]
enum PasswordSetting<'a> {
    Text(&'static str, &'a SecretString),
    File(&'static str, &'a Path),
}

impl PasswordSetting<'_> {
    fn variable(self) -> &'static str {
        match self {
            Self::Text(variable, _) | Self::File(variable, _) => variable,
        }
    }

    fn conflict(self, with: &str) -> InvalidSetting {
        match self {
            Self::Text(variable, _) => InvalidSetting::of_secret(variable, conflict(with)),
            Self::File(variable, path) => {
                InvalidSetting::of(variable, &path.to_string_lossy(), conflict(with))
            }
        }
    }
}

/// Why a setting is invalid together with this one.
fn conflict(with: &str) -> String {
    format!("conflicts with {with}; allowed: one of the two")
}

fn check_authorities() -> Result<(), InvalidSetting> {
    let Some(file) = std::env::var_os(SSL_CERT_FILE).filter(|file| !file.is_empty()) else { return Ok(()) };
    Pem::CERTIFICATE.check(file.as_ref()).map_err(|reason| {
        let reason = format!("{reason}; allowed: a file with certificates in PEM");
        InvalidSetting::of(SSL_CERT_FILE, &file.to_string_lossy(), reason)
    })
}

impl StoreArgs {
    /// The URL of a service's store: `STORAGE_URL`, else the one that the settings of this kind of store describe.
    ///
    /// # Errors
    /// [`InvalidSetting`]: an invalid host, an unreadable file, settings that conflict, or a kind without settings.
    pub fn url(&self, kind: StoreKind) -> Result<StoreUrl, InvalidSetting> {
        match &self.storage_url {
            Some(url) => self.storage_url(url),
            None => self.url_of(kind),
        }
    }

    /// The URL of a tool's store: `STORAGE_URL`, else the one whose host is set.
    ///
    /// # Errors
    /// [`InvalidSetting`]: those of [`StoreArgs::url`], or the settings select no store or both.
    pub fn selected_url(&self) -> Result<StoreUrl, InvalidSetting> {
        match (&self.storage_url, &self.redis_host, &self.mysql_host) {
            (Some(url), ..) => self.storage_url(url),
            (None, Some(_), None) => self.url_of(StoreKind::Redis),
            (None, None, Some(_)) => self.url_of(StoreKind::MySql),
            (None, Some(_), Some(host)) => {
                Err(InvalidSetting::of("MYSQL_HOST", host, conflict("REDIS_HOST")))
            }
            _ => Err(InvalidSetting::of(
                STORAGE_URL,
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
            // One of two stores: settings may be meant for the other one.
            StoreChoice::Url(url) => self.completed(url),
            StoreChoice::Settings(kind) => self.url_of(*kind),
        }
    }

    /// `STORAGE_URL`, with the settings that it leaves open. What it says itself must not be set again.
    fn storage_url(&self, url: &StoreUrl) -> Result<StoreUrl, InvalidSetting> {
        let conflict = |with: &str| InvalidSetting::of(STORAGE_URL, &url.to_string(), conflict(with));
        if let Some(password) = self.passwords(url.kind()).first()
            && !url.lacks_password()
        {
            return Err(conflict(password.variable()));
        }
        match url.kind() {
            StoreKind::Redis => {
                if self.redis_user.as_ref().is_some_and(|user| url.has_other_user(user)) {
                    return Err(conflict("REDIS_USER"));
                }
                if self.redis_tls.is_some_and(|tls| url.has_tls() != tls) {
                    return Err(conflict("REDIS_TLS"));
                }
            }
            StoreKind::MySql => {
                for (variable, name, value) in self.ssl_parameters() {
                    if url.has_other_parameter(name, &value) {
                        return Err(conflict(variable));
                    }
                }
            }
            StoreKind::Sqlite => {}
        }
        self.completed(url)
    }

    /// This URL, with the settings that apply to any URL: user, password and TLS where the URL leaves them open, and
    /// `REDIS_ALLOW_EVICTION`.
    fn completed(&self, url: &StoreUrl) -> Result<StoreUrl, InvalidSetting> {
        let mut url = url.clone();
        match url.kind() {
            StoreKind::Redis => {
                if let Some(user) = &self.redis_user {
                    url = url.with_user(user);
                }
                url = self.with_password(url)?;
                if url.has_user_without_password() {
                    let user = self.redis_user.as_deref().unwrap_or_default();
                    return Err(InvalidSetting::of(
                        "REDIS_USER",
                        user,
                        "or the user in the URL has no password; allowed: a user with REDIS_PASSWORD or REDIS_PASSWORD_FILE",
                    ));
                }
            }
            StoreKind::MySql => {
                url = self.with_password(url)?;
                for (_, name, value) in self.ssl_parameters() {
                    url = url.with_parameter(name, &value);
                }
                self.check_ssl_ca(&url)?;
            }
            StoreKind::Sqlite => {}
        }
        let verifies = match url.kind() {
            StoreKind::Redis => url.has_tls(),
            StoreKind::MySql => url.verifies_certificates(),
            StoreKind::Sqlite => false,
        };
        if verifies {
            check_authorities()?;
        }
        Ok(url.allowing_eviction(self.redis_allow_eviction))
    }

    fn url_of(&self, kind: StoreKind) -> Result<StoreUrl, InvalidSetting> {
        let host = |host: &Option<String>| host.clone().unwrap_or_else(|| LOCALHOST.to_owned());
        let no_host = |variable: &str, host: &str| {
            InvalidSetting::of(variable, host, "is not a host; allowed: a host name or an IP address")
        };
        let url = match kind {
            StoreKind::Redis => {
                let host = host(&self.redis_host);
                StoreUrl::redis(&host, self.redis_port, self.redis_tls.unwrap_or_default())
                    .map_err(|_| no_host("REDIS_HOST", &host))
            }
            StoreKind::MySql => {
                let host = host(&self.mysql_host);
                StoreUrl::mysql(&host, self.mysql_port, &self.mysql_user, &self.mysql_database)
                    .map_err(|_| no_host("MYSQL_HOST", &host))
            }
            StoreKind::Sqlite => {
                Err(InvalidSetting::of(STORAGE_URL, "", "is not set; allowed: the URL of a store"))
            }
        };
        self.completed(&url?)
    }

    /// The settings of MySQL's TLS that are set: the variable, and the parameter of a URL with its value.
    fn ssl_parameters(&self) -> Vec<(&'static str, &'static str, String)> {
        let mode = self.mysql_ssl_mode.clone().map(|mode| (MYSQL_SSL_MODE, "ssl-mode", mode));
        let file = self.mysql_ssl_ca.as_deref().map(|file| file.to_string_lossy().into_owned());
        mode.into_iter().chain(file.map(|file| (MYSQL_SSL_CA, "ssl-ca", file))).collect()
    }

    /// A file that can't be read would fail each connection, and one that is not used would seem to verify the server.
    fn check_ssl_ca(&self, url: &StoreUrl) -> Result<(), InvalidSetting> {
        let Some(file) = &self.mysql_ssl_ca else { return Ok(()) };
        let invalid = |reason: String| InvalidSetting::of(MYSQL_SSL_CA, &file.to_string_lossy(), reason);
        read_file(file).map_err(|error| {
            invalid(format!("can't be read ({error}); allowed: a file with certificates in PEM"))
        })?;
        if !url.verifies_certificates() {
            let reason = format!("is not used; allowed: with {MYSQL_SSL_MODE}=VERIFY_CA or VERIFY_IDENTITY");
            return Err(invalid(reason));
        }
        Ok(())
    }

    /// The settings for the password of this kind of store that are set.
    fn passwords(&self, kind: StoreKind) -> Vec<PasswordSetting<'_>> {
        let (texts, file) = match kind {
            StoreKind::Redis => (
                vec![(REDIS_PASSWORD, &self.redis_password), (REDIS_PWD, &self.redis_pwd)],
                (REDIS_PASSWORD_FILE, &self.redis_password_file),
            ),
            StoreKind::MySql => (
                vec![(MYSQL_PASSWORD, &self.mysql_password)],
                (MYSQL_PASSWORD_FILE, &self.mysql_password_file),
            ),
            StoreKind::Sqlite => return Vec::new(),
        };
        let texts = texts.into_iter().filter(|(_, password)| !password.expose_secret().is_empty());
        let texts = texts.map(|(variable, password)| PasswordSetting::Text(variable, password));
        let file = file.1.as_deref().map(|path| PasswordSetting::File(file.0, path));
        texts.chain(file).collect()
    }

    /// The URL with the password of the settings, wherever it lacks one.
    fn with_password(&self, url: StoreUrl) -> Result<StoreUrl, InvalidSetting> {
        match self.passwords(url.kind())[..] {
            [] => Ok(url),
            [PasswordSetting::Text(_, password)] => Ok(url.with_password(password)),
            [PasswordSetting::File(variable, path)] => {
                let file = PasswordFile::open(path).map_err(|error| {
                    let reason =
                        format!("can't be read ({error}); allowed: a file with the password in UTF-8");
                    InvalidSetting::of(variable, &path.to_string_lossy(), reason)
                })?;
                Ok(url.with_password_file(&file))
            }
            [first, second, ..] => Err(second.conflict(first.variable())),
        }
    }
}
