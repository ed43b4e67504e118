//! The table of releases of every component.
//!
//! `RELEASE` selects a row at start-up and is baked into the image. No other code compares release numbers: every
//! difference between releases is a column here.

use std::fmt;
use std::str::FromStr;

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreKind {
    /// Redis, or a server that speaks its protocol.
    Redis,
    /// MySQL, MariaDB, or a database that speaks their protocol and SQL.
    MySql,
    /// The embedded store, a file.
    Sqlite,
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::MySql => "MySQL",
            Self::Sqlite => "SQLite",
        })
    }
}

/// A release of voting-storage.
#[derive(Debug, PartialEq, Eq)]
pub struct StorageRelease {
    /// The release number.
    pub version: &'static str,
    /// The kind of store.
    pub kind: StoreKind,
}

/// A release of voting-analytics.
#[derive(Debug, PartialEq, Eq)]
pub struct AnalyticsRelease {
    /// The release number, and the tag of the image.
    pub version: &'static str,
    /// The storage that it reads.
    pub storage: &'static StorageRelease,
    /// The wording of its results.
    pub summary: Summary,
}

/// The wording of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    /// `Cats: 2 | Dogs: 4`
    Counts,
    /// `Cats: 2/6 (33%) | Dogs: 4/6 (67%)`
    Percentages,
}

/// A release of voting-app.
#[derive(Debug, PartialEq, Eq)]
pub struct AppRelease {
    /// The release number, and the tag of the image.
    pub version: &'static str,
    /// The storage that it casts votes to.
    pub storage: &'static StorageRelease,
    /// The theme of the page: a class of the style sheet.
    pub theme: &'static str,
}

/// voting-storage 1.0.
pub static STORAGE_1_0: StorageRelease = StorageRelease { version: "1.0", kind: StoreKind::Redis };
/// voting-storage 2.0.
pub static STORAGE_2_0: StorageRelease = StorageRelease { version: "2.0", kind: StoreKind::MySql };

/// All releases of voting-analytics, oldest first.
pub static ANALYTICS: [AnalyticsRelease; 3] = [
    AnalyticsRelease { version: "1.0", storage: &STORAGE_1_0, summary: Summary::Counts },
    AnalyticsRelease { version: "1.1", storage: &STORAGE_1_0, summary: Summary::Percentages },
    AnalyticsRelease { version: "2.0", storage: &STORAGE_2_0, summary: Summary::Percentages },
];

/// All releases of voting-app, oldest first.
pub static APP: [AppRelease; 2] = [
    AppRelease { version: "1.0", storage: &STORAGE_1_0, theme: "release-1" },
    AppRelease { version: "2.0", storage: &STORAGE_2_0, theme: "release-2" },
];

/// A component with numbered releases.
pub trait Released: Sized + Send + Sync + 'static {
    /// Name of the component and of its image.
    const COMPONENT: &'static str;

    /// All releases, oldest first.
    fn all() -> &'static [Self];

    /// The release number.
    fn version(&self) -> &'static str;
}

impl Released for AppRelease {
    const COMPONENT: &'static str = "voting-app";

    fn all() -> &'static [Self] {
        &APP
    }

    fn version(&self) -> &'static str {
        self.version
    }
}

impl Released for AnalyticsRelease {
    const COMPONENT: &'static str = "voting-analytics";

    fn all() -> &'static [Self] {
        &ANALYTICS
    }

    fn version(&self) -> &'static str {
        self.version
    }
}

/// A release as the value of a setting, parsed from its number.
#[derive(Debug, PartialEq, Eq)]
pub struct Release<R: 'static>(pub &'static R);

impl<R> Clone for Release<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Release<R> {}

/// A text is not a release number of the component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRelease {
    component: &'static str,
    allowed: Vec<&'static str>,
}

impl fmt::Display for UnknownRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is not a release of {}; allowed: {}", self.component, self.allowed.join(", "))
    }
}

impl std::error::Error for UnknownRelease {}

impl<R: Released> FromStr for Release<R> {
    type Err = UnknownRelease;

    fn from_str(text: &str) -> Result<Self, UnknownRelease> {
        R::all().iter().find(|release| release.version() == text).map(Release).ok_or_else(|| UnknownRelease {
            component: R::COMPONENT,
            allowed: R::all().iter().map(Released::version).collect(),
        })
    }
}

impl<R: Released> fmt::Display for Release<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.version())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_tutorials() {
        let app = |version: &str| version.parse::<Release<AppRelease>>().unwrap().0;
        let analytics = |version: &str| version.parse::<Release<AnalyticsRelease>>().unwrap().0;
        assert_eq!(app("1.0").storage.kind, StoreKind::Redis);
        assert_eq!(app("2.0").storage.kind, StoreKind::MySql);
        assert_eq!((analytics("1.0").storage.version, analytics("1.0").summary), ("1.0", Summary::Counts));
        assert_eq!(
            (analytics("1.1").storage.version, analytics("1.1").summary),
            ("1.0", Summary::Percentages)
        );
        assert_eq!(
            (analytics("2.0").storage.version, analytics("2.0").summary),
            ("2.0", Summary::Percentages)
        );
    }

    #[test]
    fn an_unknown_release_is_rejected_with_the_allowed_ones() {
        let error = "1.1".parse::<Release<AppRelease>>().unwrap_err().to_string();
        assert_eq!(error, "is not a release of voting-app; allowed: 1.0, 2.0");
    }
}
