//! The page's own files.

use std::sync::LazyLock;

use voting_http::asset::Asset;

/// URL of the style sheet, relative to the page.
pub static STYLE_URL: LazyLock<String> = LazyLock::new(|| url(&STYLE));
/// URL of the icon, relative to the page.
pub static ICON_URL: LazyLock<String> = LazyLock::new(|| url(&ICON));
/// URL of the script that updates the results, relative to the page.
pub static SCRIPT_URL: LazyLock<String> = LazyLock::new(|| url(&SCRIPT));

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::style("voting.css", include_bytes!("../assets/voting.css")));
static ICON: LazyLock<Asset> = LazyLock::new(|| Asset::svg("icon.svg", include_bytes!("../assets/icon.svg")));
static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::script("voting.js", include_bytes!("../assets/voting.js")));

fn url(asset: &Asset) -> String {
    format!("assets/{}", asset.path())
}

/// The file of this name.
pub fn get(name: &str) -> Option<&'static Asset> {
    [&*STYLE, &*ICON, &*SCRIPT].into_iter().find(|asset| asset.name == name)
}
