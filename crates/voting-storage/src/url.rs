//! The address of a store: which backend, and where.

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};

use crate::store::StoreKind;

/// A store's URL: `redis://`, `rediss://` (TLS), `mysql://` or `sqlite:`.
///
/// It may hold a password, so neither `Debug` nor `Display` prints more than the backend and the place.
#[derive(Clone)]
pub struct StoreUrl {
    kind: StoreKind,
    text: SecretString,
    place: String,
}

/// A text is not the URL of a store. The text is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not the URL of a store; allowed: redis://HOST:PORT, rediss://HOST:PORT, mysql://USER:PASSWORD@HOST:PORT/DATABASE, sqlite:FILE"
)]
pub struct InvalidStoreUrl;

impl StoreUrl {
    /// The backend that it names.
    pub fn kind(&self) -> StoreKind {
        self.kind
    }

    /// A Redis at this host and port.
    pub fn redis(host: &str, port: u16) -> Result<Self, InvalidStoreUrl> {
        format!("redis://{}:{port}", bracketed(host)).parse()
    }

    /// A MySQL or MariaDB database.
    pub fn mysql(
        host: &str,
        port: u16,
        user: &str,
        password: &SecretString,
        database: &str,
    ) -> Result<Self, InvalidStoreUrl> {
        let mut url =
            url::Url::parse(&format!("mysql://{}:{port}", bracketed(host))).map_err(|_| InvalidStoreUrl)?;
        url.set_username(&escaped(user)).map_err(|()| InvalidStoreUrl)?;
        url.set_password(Some(&escaped(password.expose_secret()))).map_err(|()| InvalidStoreUrl)?;
        url.path_segments_mut().map_err(|()| InvalidStoreUrl)?.push(database);
        url.as_str().parse()
    }

    /// Whether it is a URL of MySQL that has a user and no password.
    pub(crate) fn lacks_password(&self) -> bool {
        let url = url::Url::parse(self.expose());
        self.kind == StoreKind::MySql
            && url.is_ok_and(|url| !url.username().is_empty() && url.password().is_none())
    }

    /// The same place with this password.
    pub(crate) fn with_password(&self, password: &SecretString) -> Self {
        let mut changed = self.clone();
        if let Ok(mut url) = url::Url::parse(self.expose())
            && url.set_password(Some(&escaped(password.expose_secret()))).is_ok()
        {
            changed.text = url.as_str().into();
        }
        changed
    }

    /// The whole text, password included, for the driver alone.
    pub(crate) fn expose(&self) -> &str {
        self.text.expose_secret()
    }
}

/// The setters of a URL take a percent sign for the start of an escape, so it is escaped first.
fn escaped(text: &str) -> String {
    text.replace('%', "%25")
}

/// An IPv6 address stands in brackets in a URL.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<Self, InvalidStoreUrl> {
        let (scheme, rest) = text.split_once(':').ok_or(InvalidStoreUrl)?;
        let kind = match scheme {
            "redis" | "rediss" => StoreKind::Redis,
            "mysql" => StoreKind::MySql,
            "sqlite" => StoreKind::Sqlite,
            _ => return Err(InvalidStoreUrl),
        };
        let place = if kind == StoreKind::Sqlite {
            rest.split('?').next().unwrap_or_default().trim_start_matches("//").to_owned()
        } else {
            let url = url::Url::parse(text).map_err(|_| InvalidStoreUrl)?;
            let host = url.host_str().ok_or(InvalidStoreUrl)?;
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{host}{port}{}", url.path().trim_end_matches('/'))
        };
        if place.is_empty() {
            return Err(InvalidStoreUrl);
        }
        Ok(Self { kind, text: text.into(), place })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.kind, self.place)
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_picks_the_backend() {
        for (text, shown) in [
            ("redis://voting-storage:6379", "Redis at voting-storage:6379"),
            ("rediss://:secret@cache.example:6380/2", "Redis at cache.example:6380/2"),
            ("mysql://user:secret@db/azurevote?ssl-mode=REQUIRED", "MySQL at db/azurevote"),
            ("sqlite:data/votes.db", "SQLite at data/votes.db"),
            ("sqlite:///var/lib/votes.db", "SQLite at /var/lib/votes.db"),
        ] {
            assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "redis", "postgres://db", "redis://", "mysql://", "sqlite:", "tcp://10.0.0.1:6379"] {
            assert!(text.parse::<StoreUrl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_password_survives_the_url_and_is_never_shown() {
        let password = SecretString::from("p@ss/w:rd?#%");
        let url = StoreUrl::mysql("db", 3306, "voter", &password, "azurevote").unwrap();
        let parsed = url::Url::parse(url.expose()).unwrap();
        assert_eq!(parsed.username(), "voter");
        assert_eq!(parsed.password(), Some("p%40ss%2Fw%3Ard%3F%23%25"));
        assert!(!format!("{url} {url:?}").contains("ss"), "{url:?}");
        assert_eq!(StoreUrl::redis("::1", 6379).unwrap().to_string(), "Redis at [::1]:6379");
    }
}
