//! The address of a store.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use voting_core::StoreKind;

use crate::password::PasswordFile;

/// The URL of a store. It may hold a password, so neither `Debug` nor `Display` prints more than the backend and the
/// location.
#[derive(Clone)]
pub enum StoreUrl {
    /// One database: `redis://`, `rediss://` (TLS), `mysql://` or `sqlite:`.
    Single(StoreAddress),
    /// A Redis Cluster: `redis+cluster://` or `rediss+cluster://`.
    Cluster {
        /// One of its servers.
        seed: StoreAddress,
        /// Hash slots that share the poll: `?parts=N`.
        shards: u16,
    },
    /// Several stores of one kind, over which the poll is sharded: their URLs, separated by spaces.
    Sharded(Vec<StoreUrl>),
}

/// The address of one database.
#[derive(Clone)]
pub struct StoreAddress {
    kind: StoreKind,
    url: SecretString,
    /// The password, if the URL has none.
    password_file: Option<Arc<PasswordFile>>,
    /// Host, port and database, or the file.
    location: String,
    allows_eviction: bool,
    must_exist: bool,
}

/// The characters of the longest host name, as DNS limits it.
pub const MAX_HOST: usize = 253;

/// The values of MySQL's `ssl-mode`.
pub const MYSQL_SSL_MODES: [&str; 5] = ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"];

/// A text is not the URL of a store. The text is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not the URL of a store; allowed: redis://HOST:PORT or redis://HOST:PORT/NUMBER (with ?protocol=2 or 3), rediss://HOST:PORT, redis+cluster://HOST:PORT?parts=N (1 to 64), mysql://USER:PASSWORD@HOST:PORT/DATABASE (with ?ssl-mode=DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY, ssl-ca, ssl-cert or ssl-key=FILE), sqlite:FILE (not in memory; with ?mode=ro, rw or rwc); several different ones of one kind, separated by spaces (not sqlite); a HOST to connect to (not 0.0.0.0 or ::); a user or password with reserved characters must be percent-encoded"
)]
pub struct InvalidStoreUrl;

impl StoreUrl {
    /// The backend that the URL names.
    pub fn kind(&self) -> StoreKind {
        match self {
            Self::Single(address) | Self::Cluster { seed: address, .. } => address.kind,
            // The parser admits no empty list.
            Self::Sharded(shards) => shards.first().map_or(StoreKind::Redis, Self::kind),
        }
    }

    /// The URL of a Redis at this host and port, with TLS or without.
    ///
    /// # Errors
    /// [`InvalidStoreUrl`]: the host is neither a name nor an address.
    pub fn redis(host: &str, port: u16, tls: bool) -> Result<Self, InvalidStoreUrl> {
        let scheme = if tls { "rediss" } else { "redis" };
        format!("{scheme}://{}:{port}", bracketed(host)).parse()
    }

    /// The URL of a MySQL or MariaDB database, without a password.
    ///
    /// # Errors
    /// [`InvalidStoreUrl`]: the host is neither a name nor an address.
    pub fn mysql(host: &str, port: u16, user: &str, database: &str) -> Result<Self, InvalidStoreUrl> {
        let mut url =
            url::Url::parse(&format!("mysql://{}:{port}", bracketed(host))).map_err(|_| InvalidStoreUrl)?;
        url.set_username(&escaped(user)).map_err(|()| InvalidStoreUrl)?;
        url.path_segments_mut().map_err(|()| InvalidStoreUrl)?.push(database);
        url.as_str().parse()
    }

    /// Whether this is a Redis URL without a password, or a MySQL URL with a user and no password, or has such a shard.
    pub fn lacks_password(&self) -> bool {
        self.any(&StoreAddress::lacks_password)
    }

    /// Whether a URL names another user than this one.
    pub fn has_other_user(&self, user: &str) -> bool {
        self.any(&|address| address.user().is_some() && address.user() != address.with_user(user).user())
    }

    /// Whether a URL has a user, who can't log in without a password.
    pub fn has_user_without_password(&self) -> bool {
        self.any(&|address| {
            address.user().is_some() && address.lacks_password() && address.password_file.is_none()
        })
    }

    /// The same Redis, with this user wherever the URL lacks one.
    #[must_use]
    pub fn with_user(mut self, user: &str) -> Self {
        self.addresses_mut(&|address| {
            if address.user().is_none() {
                *address = address.with_user(user);
            }
        });
        self
    }

    /// Whether this Redis is reached by TLS.
    pub fn has_tls(&self) -> bool {
        !self.any(&|address| !address.expose().starts_with("rediss:"))
    }

    /// Whether the URL of a MySQL has this parameter with another value.
    pub fn has_other_parameter(&self, name: &str, value: &str) -> bool {
        self.any(&|address| address.parameter(name).is_some_and(|own| !own.eq_ignore_ascii_case(value)))
    }

    /// The same MySQL, with this parameter wherever the URL lacks it.
    #[must_use]
    pub fn with_parameter(mut self, name: &str, value: &str) -> Self {
        self.addresses_mut(&|address| {
            if address.parameter(name).is_none()
                && let Some(mut url) = address.parsed()
            {
                url.query_pairs_mut().append_pair(name, value);
                address.url = url.as_str().into();
            }
        });
        self
    }

    /// Whether the certificates of MySQL servers are verified.
    pub fn verifies_certificates(&self) -> bool {
        !self.any(&|address| {
            let mode = address.parameter("ssl-mode").unwrap_or_default().to_ascii_uppercase();
            !mode.starts_with("VERIFY_")
        })
    }

    /// The same store, with this password wherever the URL lacks one.
    #[must_use]
    pub fn with_password(mut self, password: &SecretString) -> Self {
        self.addresses_mut(&|address| address.url = address.url_with(password));
        self
    }

    /// The same store, with the password in this file wherever the URL lacks one.
    #[must_use]
    pub fn with_password_file(mut self, file: &Arc<PasswordFile>) -> Self {
        self.addresses_mut(&|address| {
            address.password_file = address.lacks_password().then(|| file.clone());
        });
        self
    }

    /// The same store, which is used only if it has been made ready before: neither a file nor tables are created, and no
    /// table of azure-vote is taken over.
    #[must_use]
    pub fn existing(mut self) -> Self {
        self.addresses_mut(&|address| address.must_exist = true);
        self
    }

    fn any(&self, property: &dyn Fn(&StoreAddress) -> bool) -> bool {
        match self {
            Self::Single(address) | Self::Cluster { seed: address, .. } => property(address),
            Self::Sharded(shards) => shards.iter().any(|shard| shard.any(property)),
        }
    }

    fn addresses_mut(&mut self, change: &dyn Fn(&mut StoreAddress)) {
        match self {
            Self::Single(address) | Self::Cluster { seed: address, .. } => change(address),
            Self::Sharded(shards) => shards.iter_mut().for_each(|shard| shard.addresses_mut(change)),
        }
    }

    /// The same store, which takes ballots even where Redis may evict ballot ids and counts, if this is true.
    #[must_use]
    pub fn allowing_eviction(mut self, is_allowed: bool) -> Self {
        self.addresses_mut(&|address| address.allows_eviction = is_allowed);
        self
    }

    /// The whole text, password included, for tests alone; `None` for a sharded poll.
    pub fn expose(&self) -> Option<String> {
        match self {
            Self::Single(address) | Self::Cluster { seed: address, .. } => {
                let file = address.password_file.as_ref();
                let url = file.map_or_else(|| address.url.clone(), |file| address.url_with(&file.last()));
                Some(url.expose_secret().to_owned())
            }
            Self::Sharded(_) => None,
        }
    }

    /// Several stores as one. Their order does not matter.
    fn sharded(mut shards: Vec<Self>) -> Result<Self, InvalidStoreUrl> {
        shards.sort_by_cached_key(Self::location);
        let kind = shards.first().ok_or(InvalidStoreUrl)?.kind();
        // The votes of a store that is listed twice would count twice.
        let is_repeated = shards.windows(2).any(|pair| pair[0].location() == pair[1].location());
        if is_repeated || shards.iter().any(|shard| shard.kind() != kind) {
            return Err(InvalidStoreUrl);
        }
        Ok(Self::Sharded(shards))
    }

    fn cluster(seed: &str) -> Result<Self, InvalidStoreUrl> {
        const DEFAULT_SHARDS: u16 = 8;
        let (seed, query) = seed.split_once('?').unwrap_or((seed, ""));
        let shards = match query.split_once('=') {
            None if query.is_empty() => DEFAULT_SHARDS,
            Some(("parts", number)) => number.parse().map_err(|_| InvalidStoreUrl)?,
            _ => return Err(InvalidStoreUrl),
        };
        if !(1..=64).contains(&shards) {
            return Err(InvalidStoreUrl);
        }
        Ok(Self::Cluster { seed: seed.parse()?, shards })
    }

    fn location(&self) -> String {
        match self {
            Self::Single(address) | Self::Cluster { seed: address, .. } => address.location.clone(),
            Self::Sharded(shards) => shards.iter().map(Self::location).collect::<Vec<_>>().join(", "),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<Self, InvalidStoreUrl> {
        // The name of a file may have spaces.
        if text.trim().contains(char::is_whitespace) && !text.starts_with("sqlite:") {
            return Self::sharded(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?);
        }
        let text = text.trim();
        let (scheme, rest) = text.split_once(':').ok_or(InvalidStoreUrl)?;
        match scheme.strip_suffix("+cluster") {
            Some(scheme @ ("redis" | "rediss")) => Self::cluster(&format!("{scheme}:{rest}")),
            _ => text.parse().map(Self::Single),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.kind(), self.location())
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

impl StoreAddress {
    /// The backend.
    pub fn kind(&self) -> StoreKind {
        self.kind
    }

    /// Whether ballots are taken even where the store may evict keys.
    #[cfg(feature = "redis")]
    pub(crate) fn allows_eviction(&self) -> bool {
        self.allows_eviction
    }

    /// Whether the store is used only if it has been made ready before.
    pub(crate) fn must_exist(&self) -> bool {
        self.must_exist
    }

    /// The URL, with the password if it is not in a file, for the driver alone.
    pub(crate) fn expose(&self) -> &str {
        self.url.expose_secret()
    }

    fn lacks_password(&self) -> bool {
        self.parsed().is_some_and(|url| {
            let has_place = self.kind == StoreKind::Redis || !url.username().is_empty();
            has_place && url.password().is_none()
        })
    }

    /// The parts of the URL; `None` for SQLite.
    fn parsed(&self) -> Option<url::Url> {
        if self.kind == StoreKind::Sqlite { None } else { url::Url::parse(self.expose()).ok() }
    }

    fn user(&self) -> Option<String> {
        self.parsed().map(|url| url.username().to_owned()).filter(|user| !user.is_empty())
    }

    /// The same address with this user.
    fn with_user(&self, user: &str) -> Self {
        let mut changed = self.clone();
        if let Some(mut url) = self.parsed()
            && url.set_username(&escaped(user)).is_ok()
        {
            changed.url = url.as_str().into();
        }
        changed
    }

    /// The value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let name = parameter(self.kind, name);
        let url = self.parsed()?;
        let mut pairs = url.query_pairs();
        pairs.find(|(other, _)| parameter(self.kind, other) == name).map(|(_, value)| value.into_owned())
    }

    /// The file with the password.
    #[cfg(any(feature = "redis", feature = "mysql"))]
    pub(crate) fn password_file(&self) -> Option<Arc<PasswordFile>> {
        self.password_file.clone()
    }

    /// The URL with this password, if it has none of its own.
    pub(crate) fn url_with(&self, password: &SecretString) -> SecretString {
        // Redis takes an empty password for one.
        let is_needed = self.kind != StoreKind::Redis || !password.expose_secret().is_empty();
        if is_needed
            && self.lacks_password()
            && let Some(mut url) = self.parsed()
            && url.set_password(Some(&escaped(password.expose_secret()))).is_ok()
        {
            return url.as_str().into();
        }
        self.url.clone()
    }
}

impl FromStr for StoreAddress {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<Self, InvalidStoreUrl> {
        let (scheme, rest) = text.split_once(':').ok_or(InvalidStoreUrl)?;
        let kind = match scheme {
            "redis" | "rediss" => StoreKind::Redis,
            "mysql" => StoreKind::MySql,
            "sqlite" => StoreKind::Sqlite,
            _ => return Err(InvalidStoreUrl),
        };
        let location = if kind == StoreKind::Sqlite {
            let file = sqlite_file(rest).ok_or(InvalidStoreUrl)?;
            file.to_owned()
        } else {
            let url = url::Url::parse(text).map_err(|_| InvalidStoreUrl)?;
            let is_host =
                |host: &&str| url.port() != Some(0) && host.len() <= MAX_HOST && !is_unspecified(host);
            let host = url.host_str().filter(is_host).ok_or(InvalidStoreUrl)?;
            // A password with a delimiter that is not percent-encoded ends the host early: the rest, shown as the path,
            // would be a part of the password.
            let rest = [Some(url.path()), url.query(), url.fragment()];
            if url.fragment().is_some() || rest.into_iter().flatten().any(|part| part.contains('@')) {
                return Err(InvalidStoreUrl);
            }
            let database = url.path().trim_matches('/');
            let is_database =
                if kind == StoreKind::Redis { is_database_number(database) } else { !database.is_empty() };
            if !is_database || !are_known(kind, &url) {
                return Err(InvalidStoreUrl);
            }
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{host}{port}{}", url.path().trim_end_matches('/'))
        };
        if location.is_empty() {
            return Err(InvalidStoreUrl);
        }
        Ok(Self {
            kind,
            url: text.into(),
            password_file: None,
            location,
            allows_eviction: false,
            must_exist: false,
        })
    }
}

impl fmt::Debug for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreAddress({} at {})", self.kind, self.location)
    }
}

/// Whether a path of a Redis URL is empty or the number of a database.
fn is_database_number(path: &str) -> bool {
    path.is_empty() || path.parse::<u32>().is_ok()
}

/// Whether the driver knows the parameters and their values. It ignores those that it does not know, so that a misspelt one
/// might switch TLS off, and takes the last of those that occur twice.
fn are_known(kind: StoreKind, url: &url::Url) -> bool {
    let mut names = std::collections::HashSet::new();
    url.query_pairs().all(|(name, value)| {
        let name = parameter(kind, &name);
        let is_known = match (kind, name.as_str()) {
            (StoreKind::Redis, "protocol") => ["2", "3", "resp2", "resp3"].contains(&&*value),
            (StoreKind::MySql, "sslmode") => MYSQL_SSL_MODES.contains(&value.to_ascii_uppercase().as_str()),
            (StoreKind::MySql, "sslca" | "sslcert" | "sslkey" | "socket") => !value.is_empty(),
            (StoreKind::MySql, "charset" | "collation" | "timezone" | "time-zone") => !value.is_empty(),
            (StoreKind::MySql, "statement-cache-capacity") => value.parse::<usize>().is_ok(),
            _ => false,
        };
        is_known && names.insert(name)
    })
}

/// The name of a parameter, of which MySQL's may be written in two ways.
fn parameter(kind: StoreKind, name: &str) -> String {
    if kind == StoreKind::MySql { name.replacen("ssl-", "ssl", 1) } else { name.to_owned() }
}

/// The file of an SQLite URL; none if its votes would be in memory alone, or if another URL follows.
fn sqlite_file(rest: &str) -> Option<&str> {
    // A path may contain blanks. One SQLite file can't be sharded, so a further URL is a mistake.
    let is_url = |word: &str| word.starts_with("sqlite:") || word.contains("://");
    if rest.split_whitespace().skip(1).any(is_url) {
        return None;
    }
    let (file, query) = rest.split_once('?').unwrap_or((rest, ""));
    let file = file.trim_start_matches("//");
    // SQLite also takes URIs, and the driver decodes the file name.
    let name = percent_decode(file);
    let is_memory = name.contains(":memory:") || name.starts_with("file:");
    let parameters = url::form_urlencoded::parse(query.as_bytes());
    let mut is_forbidden = is_memory || name.trim().is_empty();
    for (name, value) in parameters {
        is_forbidden |= match &*name {
            "mode" => !["ro", "rw", "rwc"].contains(&&*value),
            "cache" => !["private", "shared"].contains(&&*value),
            _ => true,
        };
    }
    (!is_forbidden).then_some(file)
}

fn percent_decode(text: &str) -> String {
    // A form also decodes a plus sign, which does not matter here.
    url::form_urlencoded::parse(text.replace('&', "%26").replace('=', "%3D").as_bytes())
        .map(|(name, _)| name.into_owned())
        .collect()
}

/// The setters of a URL take a percent sign for the start of an escape, so it is escaped first.
fn escaped(text: &str) -> String {
    text.replace('%', "%25")
}

/// Whether a host is an address to listen on, such as `0.0.0.0` or `::`, which no server has.
pub fn is_unspecified(host: &str) -> bool {
    use std::net::IpAddr;
    let ip = match host.parse::<IpAddr>() {
        Ok(ip) => ip,
        // Other spellings of an address, such as `[::]` and `0`.
        Err(_) => match url::Host::parse(host) {
            Ok(url::Host::Ipv4(ip)) => ip.into(),
            Ok(url::Host::Ipv6(ip)) => ip.into(),
            Ok(url::Host::Domain(_)) | Err(_) => return false,
        },
    };
    ip.to_canonical().is_unspecified()
}

/// An IPv6 address stands in brackets in a URL.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
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
            "redis://cache:0",
            "redis://0.0.0.0",
            "redis+cluster://[::]:7000",
            "mysql://user:secret@[::]:3306/votes",
            "mysql://",
            "sqlite:",
            "sqlite:a.db sqlite:b.db",
            "sqlite:a.db\tredis://h",
            "sqlite::memory:",
            "sqlite://:memory:",
            "sqlite:%3Amemory%3A",
            "sqlite:file::memory:",
            "sqlite:votes.db?mode=memory",
            "sqlite:votes.db?cache=shared&mode=memory",
            "sqlite:?mode=rwc",
            "tcp://10.0.0.1:6379",
            "redis://a/votes",
            "mysql://u:p@h:3306",
            "mysql://u:p@h:3306/",
            "mysql://u:p@h//",
            "mysql://u:p@h?ssl-mode=REQUIRED",
            "mysql://u@h/d?ssl-mode=ON",
            "mysql://u@h/d?ssl-mod=REQUIRED",
            "mysql://u@h/d?SSL-MODE=REQUIRED",
            "mysql://u@h/d?ssl-mode=REQUIRED&ssl-mode=DISABLED",
            "mysql://u@h/d?ssl-mode=REQUIRED&sslmode=DISABLED",
            "mysql://u@h/d?useSSL=true",
            "mysql://u@h/d?ssl-ca=",
            "redis://h?tls=true",
            "redis://h?protocol=4",
            "sqlite:votes.db?mode=fast",
            "sqlite:votes.db?speed=fast",
            "redis://a redis://a",
            "redis://a mysql://b/c",
            "redis://a b",
            // Passwords that are not percent-encoded.
            "mysql://voter:12/34@db/azurevote",
            "mysql://voter:12?34@db/azurevote",
            "mysql://voter:12#34@db/azurevote",
            "redis://voter:12/34@cache",
        ] {
            assert!(text.parse::<StoreUrl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_password_survives_the_url_and_is_never_shown() {
        let password = SecretString::from("p@ss/w:rd?#%");
        let url = StoreUrl::mysql("db", 3306, "voter", "azurevote").unwrap().with_password(&password);
        let parsed = url::Url::parse(&url.expose().unwrap()).unwrap();
        assert_eq!(parsed.username(), "voter");
        assert_eq!(parsed.password(), Some("p%40ss%2Fw%3Ard%3F%23%25"));
        assert!(!format!("{url} {url:?}").contains("ss"), "{url:?}");
        assert_eq!(StoreUrl::redis("::1", 6379, false).unwrap().to_string(), "Redis at [::1]:6379");
    }
}
