//! The cookie by which the mesh selects a release: `featureflag=on`.

use axum::http::HeaderMap;

use crate::cookies::cookies;

/// The cookie of a browser with the flag.
pub const ON: &str = "featureflag=on";

/// The match of the mesh: an RE2 expression for the whole `Cookie` header.
pub const COOKIE_REGEX: &str = r"(.*;\s*)?featureflag=on(\s*;.*)?";

/// Whether the cookies of a request match [`COOKIE_REGEX`].
pub fn is_on(headers: &HeaderMap) -> bool {
    cookies(headers).any(|cookie| cookie == ON.as_bytes())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn by_code(cookies: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_bytes(cookies.as_bytes()).unwrap());
        is_on(&headers)
    }

    #[test]
    fn the_flag_is_one_cookie_with_exactly_this_value() {
        for cookies in [
            "featureflag=on",
            "a=é; featureflag=on",
            "a=b; featureflag=on",
            "featureflag=on; a=b",
            "a=b;featureflag=on ;c=d",
        ] {
            assert!(by_code(cookies), "{cookies}");
        }
        for cookies in [
            "",
            "featureflag=",
            "featureflag=off",
            "notfeatureflag=on",
            "featureflag=once",
            "FeatureFlag=on",
            "a=featureflag=on",
        ] {
            assert!(!by_code(cookies), "{cookies}");
        }
    }

    proptest! {
        #[test]
        fn the_code_and_the_regex_of_the_mesh_agree(
            parts in prop::collection::vec("(featureflag=on|featureflag=o|xfeatureflag=on|featureflag=onx|a=b| |;|; |[a-z=]{0,3})", 0..8)
        ) {
            // White space around a header's value is not part of it.
            let cookies = parts.concat();
            let cookies = cookies.trim();
            let regex = Regex::new(&format!("^(?:{COOKIE_REGEX})$")).unwrap();
            prop_assert_eq!(by_code(cookies), regex.is_match(cookies), "{:?}", cookies);
        }
    }
}
