//! The address of a store: which backend, and where.

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};

use crate::store::StoreKind;

/// A store's URL: `redis://`, `rediss://` (TLS), each with `+cluster` after the scheme for a Redis Cluster and `?parts=N`
/// for the number of hash slots that share the poll, `mysql://` or `sqlite:`; or several of one kind with blanks between
/// them, over which the poll is split.
///
/// It may hold a password, so neither `Debug` nor `Display` prints more than the backend and the place.
#[derive(Clone)]
pub struct StoreUrl {
    kind: StoreKind,
    text: SecretString,
    place: String,
    /// Empty for one store.
    parts: Vec<StoreUrl>,
    /// The parts in a Redis Cluster.
    cluster: Option<u16>,
}

/// A text is not the URL of a store. The text is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not the URL of a store; allowed: redis://HOST:PORT, rediss://HOST:PORT, redis+cluster://HOST:PORT?parts=N (1 to 64), mysql://USER:PASSWORD@HOST:PORT/DATABASE, sqlite:FILE; several of one kind, each another one, with blanks between them (not sqlite)"
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

    /// The stores over which the poll is split, if there are several.
    pub(crate) fn parts(&self) -> Option<&[Self]> {
        if self.parts.is_empty() { None } else { Some(&self.parts) }
    }

    /// Several stores as one. The order in which they are named does not matter.
    fn split(mut parts: Vec<Self>) -> Result<Self, InvalidStoreUrl> {
        parts.sort_by(|a, b| a.place.cmp(&b.place));
        let kind = parts.first().ok_or(InvalidStoreUrl)?.kind;
        // The votes of one that is named twice would count twice.
        let is_repeated = parts.windows(2).any(|pair| pair[0].place == pair[1].place);
        if is_repeated || parts.iter().any(|part| part.kind != kind) {
            return Err(InvalidStoreUrl);
        }
        let place = parts.iter().map(|part| part.place.as_str()).collect::<Vec<_>>().join(", ");
        Ok(Self { kind, text: SecretString::default(), place, parts, cluster: None })
    }

    /// A Redis Cluster, with the URL of one of its servers.
    fn cluster(text: &str) -> Result<Self, InvalidStoreUrl> {
        const PARTS: u16 = 8;
        let (server, query) = text.split_once('?').unwrap_or((text, ""));
        let parts = match query.split_once('=') {
            None if query.is_empty() => PARTS,
            Some(("parts", number)) => number.parse().map_err(|_| InvalidStoreUrl)?,
            _ => return Err(InvalidStoreUrl),
        };
        if !(1..=64).contains(&parts) {
            return Err(InvalidStoreUrl);
        }
        Ok(Self { cluster: Some(parts), ..server.parse()? })
    }

    /// Over how many parts the poll is split in a Redis Cluster, if it is one.
    pub(crate) fn cluster_parts(&self) -> Option<u16> {
        self.cluster
    }

    /// Whether it is a URL of MySQL that has a user and no password; or several of which one is.
    pub(crate) fn lacks_password(&self) -> bool {
        let url = url::Url::parse(self.expose());
        self.parts.iter().any(Self::lacks_password)
            || self.kind == StoreKind::MySql
                && url.is_ok_and(|url| !url.username().is_empty() && url.password().is_none())
    }

    /// The same place with this password, where one is lacking.
    pub(crate) fn with_password(&self, password: &SecretString) -> Self {
        let mut changed = self.clone();
        for part in &mut changed.parts {
            *part = part.with_password(password);
        }
        if self.lacks_password()
            && let Ok(mut url) = url::Url::parse(self.expose())
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
        // The name of a file may have blanks.
        if text.trim().contains(char::is_whitespace) && !text.starts_with("sqlite:") {
            return Self::split(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?);
        }
        let text = text.trim();
        let (scheme, rest) = text.split_once(':').ok_or(InvalidStoreUrl)?;
        if let Some(scheme @ ("redis" | "rediss")) = scheme.strip_suffix("+cluster") {
            return Self::cluster(&format!("{scheme}:{rest}"));
        }
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
        Ok(Self { kind, text: text.into(), place, parts: Vec::new(), cluster: None })
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
            ("redis+cluster://:secret@cache:6379?parts=16", "Redis at cache:6379"),
            ("mysql://user:secret@db/azurevote?ssl-mode=REQUIRED", "MySQL at db/azurevote"),
            ("sqlite:data/votes.db", "SQLite at data/votes.db"),
            ("sqlite:///var/lib/votes.db", "SQLite at /var/lib/votes.db"),
            ("sqlite:my votes.db", "SQLite at my votes.db"),
            ("redis://:secret@b:1 redis://a ", "Redis at a, b:1"),
        ] {
            assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "redis",
            "postgres://db",
            "redis://",
            "mysql://",
            "sqlite:",
            "tcp://10.0.0.1:6379",
            "redis://a redis://a",
            "redis://a mysql://b/c",
            "redis://a b",
        ] {
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
