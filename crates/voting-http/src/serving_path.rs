//! The header `x-voting-path`: the releases that served a response, and the faults that they inject.

use std::fmt;
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The releases that served a response, by component: `app=1.0, analytics=1.1, storage=1.0`. Behind them, bad releases list the
/// kinds of their faults: `app-faults=error.lose`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingPath(HeaderValue);

/// A text is not a list of `component=release`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidServingPath;

impl ServingPath {
    /// The name of the header.
    pub const HEADER: HeaderName = HeaderName::from_static("x-voting-path");

    /// A path of these components and their releases.
    ///
    /// # Panics
    /// If a name or a release does not come from the release table and is not a token.
    pub fn new(hops: &[(&str, &str)]) -> Self {
        let hops: Vec<_> = hops.iter().map(|(component, release)| format!("{component}={release}")).collect();
        hops.join(",").parse().expect("components and releases are tokens")
    }

    /// The path among these headers; `None` if it is missing or invalid.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        headers.get(Self::HEADER)?.to_str().ok()?.parse().ok()
    }

    /// The release of a component on this path.
    pub fn release(&self, component: &str) -> Option<&str> {
        self.as_str().split(", ").find_map(|hop| hop.strip_prefix(component)?.strip_prefix('='))
    }

    /// The kinds of faults that a component on this path injects, such as `error.lose`.
    pub fn faults(&self, component: &str) -> Option<&str> {
        self.release(&faults_of(component))
    }

    /// This path with the kinds of faults that a component injects; without them the same path.
    ///
    /// # Panics
    /// If the kinds are not a token.
    #[must_use]
    pub fn with_faults(self, component: &str, kinds: Option<&str>) -> Self {
        let Some(kinds) = kinds else { return self };
        assert!(is_token(kinds), "not a list of faults: {kinds:?}");
        Self::of([self.as_str(), ", ", &faults_of(component), "=", kinds].concat())
    }

    /// This path with a release of voting-app in front.
    ///
    /// # Panics
    /// If the release is not a token.
    #[must_use]
    pub fn with_app(&self, release: &str) -> Self {
        assert!(is_token(release), "not a release: {release:?}");
        Self::of(["app=", release, ", ", self.as_str()].concat())
    }

    fn of(hops: String) -> Self {
        Self(HeaderValue::try_from(hops).expect("tokens are valid in a header"))
    }

    fn as_str(&self) -> &str {
        self.0.to_str().expect("tokens are ASCII")
    }
}

impl fmt::Display for ServingPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ServingPath {
    type Err = InvalidServingPath;

    fn from_str(text: &str) -> Result<Self, InvalidServingPath> {
        let hops: Vec<_> = text.split(',').map(str::trim_ascii).collect();
        let is_hop = |hop: &&str| {
            hop.split_once('=').is_some_and(|(component, release)| is_token(component) && is_token(release))
        };
        if hops.iter().all(is_hop) { Ok(Self::of(hops.join(", "))) } else { Err(InvalidServingPath) }
    }
}

impl From<&ServingPath> for HeaderValue {
    fn from(path: &ServingPath) -> Self {
        path.0.clone()
    }
}

fn faults_of(component: &str) -> String {
    format!("{component}-faults")
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_names_the_release_of_each_component() {
        let path = ServingPath::new(&[("analytics", "1.1"), ("storage", "1.0")]);
        assert_eq!(path.to_string(), "analytics=1.1, storage=1.0");
        assert_eq!((path.release("storage"), path.release("app")), (Some("1.0"), None));
        let path = path.with_app("2.0");
        assert_eq!((path.release("app"), path.release("analytics")), (Some("2.0"), Some("1.1")));
        assert_eq!(HeaderValue::from(&path), "app=2.0, analytics=1.1, storage=1.0");
    }

    #[test]
    fn a_path_names_faults_and_keeps_the_releases_where_they_are() {
        let path = ServingPath::new(&[("analytics", "2.0"), ("storage", "2.0")]);
        assert_eq!((path.faults("app"), path.clone().with_faults("app", None)), (None, path.clone()));
        let path = path.with_faults("analytics", Some("wrong-summary")).with_app("2.0");
        let path = path.with_faults("app", Some("error.lose"));
        assert_eq!((path.release("app"), path.faults("app")), (Some("2.0"), Some("error.lose")));
        assert_eq!(path.faults("analytics"), Some("wrong-summary"));
        let header =
            "app=2.0, analytics=2.0, storage=2.0, analytics-faults=wrong-summary, app-faults=error.lose";
        assert_eq!(header.parse(), Ok(path));
    }

    #[test]
    fn an_invalid_path_is_ignored() {
        for text in ["", "app", "app=", "=1.0", "app=1.0,", "app=1.0 storage=1.0", "app=1=0", "app=\u{fc}"] {
            let headers = HeaderMap::from_iter([(
                ServingPath::HEADER,
                HeaderValue::from_bytes(text.as_bytes()).unwrap(),
            )]);
            assert_eq!(ServingPath::from_headers(&headers), None, "{text:?}");
        }
        assert_eq!(ServingPath::from_headers(&HeaderMap::new()), None);
    }

    proptest! {
        #[test]
        fn a_parsed_path_is_a_header_that_parses_to_the_same_path(text in "([a-z]{1,4}=[0-9.]{1,3} ?,? ?|\\PC){0,4}") {
            if let Ok(path) = text.parse::<ServingPath>() {
                let headers = HeaderMap::from_iter([(ServingPath::HEADER, HeaderValue::from(&path))]);
                prop_assert_eq!(ServingPath::from_headers(&headers), Some(path));
            }
        }
    }
}
