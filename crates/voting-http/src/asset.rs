//! The files of a page: embedded at build time, compressed at the first request, and cached by browsers forever, because
//! their URL has a version that is derived from the content.

use std::fmt::Write as _;
use std::io::Write as _;

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// A file of a page.
pub struct Asset {
    /// The file's name in its URL.
    pub name: &'static str,
    content_type: &'static str,
    /// The file's place in its URL: the first 16 hexadecimal digits of its SHA-256.
    version: String,
    data: &'static [u8],
    /// `data`, compressed with gzip.
    gzip: Vec<u8>,
}

impl Asset {
    /// A style sheet.
    pub fn style(name: &'static str, data: &'static [u8]) -> Self {
        Self::new(name, "text/css; charset=utf-8", data)
    }

    /// A script.
    pub fn script(name: &'static str, data: &'static [u8]) -> Self {
        Self::new(name, "text/javascript; charset=utf-8", data)
    }

    /// A vector graphic.
    pub fn svg(name: &'static str, data: &'static [u8]) -> Self {
        Self::new(name, "image/svg+xml", data)
    }

    fn new(name: &'static str, content_type: &'static str, data: &'static [u8]) -> Self {
        let version = Sha256::digest(data).iter().take(8).fold(String::new(), |mut hex, byte| {
            // Writing to a String does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Neither does writing to a vector.
        let _ = encoder.write_all(data);
        let gzip = encoder.finish().unwrap_or_default();
        Self { name, content_type, version, data, gzip }
    }

    /// Its version and name: the end of its URL, for a route `/{version}/{name}`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.version, self.name)
    }

    /// The file, whatever the requested version, so that a page of an older or newer pod is not left without its style. Only
    /// the requested version may be cached.
    pub fn respond(&'static self, requested: &str, headers: &HeaderMap) -> Response {
        let cache =
            if requested == self.version { "public, max-age=31536000, immutable" } else { "no-store" };
        let meta = [
            (header::CONTENT_TYPE, self.content_type),
            (header::CACHE_CONTROL, cache),
            (header::VARY, "accept-encoding"),
        ];
        if accepts_gzip(headers) {
            return (meta, [(header::CONTENT_ENCODING, "gzip")], &*self.gzip).into_response();
        }
        (meta, self.data).into_response()
    }
}

/// Whether a request accepts gzip: named, and not excluded by `q=0`.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|entry| {
            let (name, weight) = entry.split_once(';').unwrap_or((entry, ""));
            let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
            name.trim().eq_ignore_ascii_case("gzip") && weight != Some(0.0)
        })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::http::HeaderValue;
    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn the_compressed_form_of_a_file_is_the_file() {
        let asset = Asset::style("voting.css", b"body { margin: 0 }");
        let version = asset.path().strip_suffix("/voting.css").unwrap().to_owned();
        assert_eq!((&version, version.len()), (&asset.version, 16));
        let mut data = Vec::new();
        GzDecoder::new(&*asset.gzip).read_to_end(&mut data).unwrap();
        assert!(data == asset.data);
    }

    #[test]
    fn only_a_client_that_accepts_gzip_gets_it() {
        for (accepted, is_accepted) in [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, gzip;q=0.5", true),
            ("GZIP", true),
            ("br, gzip;q=0", false),
            ("br,gzip; q=0.0", false),
            ("brotli, x-gzip", false),
            ("identity", false),
            ("", false),
        ] {
            let headers =
                HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted))]);
            assert_eq!(accepts_gzip(&headers), is_accepted, "{accepted}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
