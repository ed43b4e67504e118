//! The page's own files, embedded and compressed at build time.

use std::sync::LazyLock;

use rust_embed_for_web::{EmbedableFile as _, EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Assets;

/// URL of the style sheet.
pub static STYLE_URL: LazyLock<String> = LazyLock::new(|| url("voting.css"));
/// URL of the icon.
pub static ICON_URL: LazyLock<String> = LazyLock::new(|| url("icon.svg"));
/// URL of the script that updates the results.
pub static SCRIPT_URL: LazyLock<String> = LazyLock::new(|| url("voting.js"));

/// The file of this name.
pub fn get(name: &str) -> Option<EmbeddedFile> {
    Assets::get(name)
}

/// The URL of a file; empty if there is no file of this name.
fn url(name: &str) -> String {
    get(name).map(|file| format!("/assets/{}/{name}", version(&file))).unwrap_or_default()
}

/// The version of a file in its URL: the alphanumeric characters of its SHA-256 in base 85, shortened to 16.
pub fn version(file: &EmbeddedFile) -> String {
    file.hash().chars().filter(char::is_ascii_alphanumeric).take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_embedded() {
        for (url, end) in [(&STYLE_URL, "/voting.css"), (&ICON_URL, "/icon.svg"), (&SCRIPT_URL, "/voting.js")]
        {
            let version = url.strip_prefix("/assets/").and_then(|url| url.strip_suffix(end));
            assert_eq!(version.map(str::len), Some(16), "{}", **url);
        }
    }
}
