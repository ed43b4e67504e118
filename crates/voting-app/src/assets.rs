//! The page's own files, embedded at build time and compressed at the first request.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// URL of the style sheet, relative to the page.
pub static STYLE_URL: LazyLock<String> = LazyLock::new(|| STYLE.url());
/// URL of the icon, relative to the page.
pub static ICON_URL: LazyLock<String> = LazyLock::new(|| ICON.url());
/// URL of the script that updates the results, relative to the page.
pub static SCRIPT_URL: LazyLock<String> = LazyLock::new(|| SCRIPT.url());

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("voting.css", "text/css; charset=utf-8", include_bytes!("../assets/voting.css"))
});
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon.svg", "image/svg+xml", include_bytes!("../assets/icon.svg")));
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("voting.js", "text/javascript; charset=utf-8", include_bytes!("../assets/voting.js"))
});

/// A file of the page.
pub struct Asset {
    name: &'static str,
    pub content_type: &'static str,
    /// The file's place in its URL: the first 16 hexadecimal digits of its SHA-256.
    pub version: String,
    pub data: &'static [u8],
    /// `data`, compressed with gzip.
    pub gzip: Vec<u8>,
}

impl Asset {
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

    fn url(&self) -> String {
        format!("assets/{}/{}", self.version, self.name)
    }
}

/// The file of this name.
pub fn get(name: &str) -> Option<&'static Asset> {
    [&*STYLE, &*ICON, &*SCRIPT].into_iter().find(|asset| asset.name == name)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn the_compressed_form_of_every_file_is_the_file() {
        for url in [&STYLE_URL, &ICON_URL, &SCRIPT_URL] {
            let (version, name) = url.strip_prefix("assets/").unwrap().split_once('/').unwrap();
            let asset = get(name).unwrap();
            assert_eq!((version, version.len()), (&*asset.version, 16), "{name}");
            let mut data = Vec::new();
            GzDecoder::new(&*asset.gzip).read_to_end(&mut data).unwrap();
            assert!(data == asset.data, "{name}");
        }
    }
}
