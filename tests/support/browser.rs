//! A visitor with a real browser: headless Chromium, driven through chromedriver.

use std::fmt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::{ParseError, Url};

use crate::free_port;
use crate::servers::find_program;
use crate::watchdog::Watchdog;

/// How long a page may take to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The driver that all browsers of this program share. It ends with the program, and they with it.
struct Driver {
    url: String,
    chromium: PathBuf,
    _process: Child,
    _watchdog: Watchdog,
}

fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let find = |names: &[&str]| {
            find_program(names).unwrap_or_else(|| {
                panic!(
                    "no {}: put chromium and chromedriver on the PATH (`cargo xtask test` installs them on Debian and Ubuntu)",
                    names[0]
                )
            })
        };
        let chromium = find(&["chromium", "chromium-browser", "google-chrome"]);
        let port = free_port();
        // Profiles of browsers that are killed must not stay behind.
        let profiles = TempDir::new().unwrap().keep();
        let process = Command::new(find(&["chromedriver"]))
            .arg(format!("--port={port}"))
            .env("TMPDIR", &profiles)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // The browsers are in its group.
            .process_group(0)
            .spawn()
            .unwrap();
        let watchdog = Watchdog::new(&format!("kill -9 -{}; rm -rf {}", process.id(), profiles.display()));
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < PATIENCE, "chromedriver does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Driver { url: format!("http://127.0.0.1:{port}"), chromium, _process: process, _watchdog: watchdog }
    })
}

/// A browser of its own profile, with one window.
#[derive(Debug)]
pub struct Browser(Client);

impl Browser {
    /// A browser whose window shows 1280 by 800 pixels of a page.
    pub async fn start() -> Self {
        let capabilities = json!({
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": {
                "binary": driver().chromium,
                "args": [
                    "--headless", "--disable-gpu", "--hide-scrollbars", "--lang=en", "--force-device-scale-factor=1",
                    // In containers there is no room for a sandbox, nor for much shared memory.
                    "--no-sandbox", "--disable-dev-shm-usage",
                    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                ],
            },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities);
        let mut tries = 0;
        // On a busy machine Chromium may not answer its driver in time.
        let client = loop {
            tries += 1;
            match builder.connect(&driver().url).await {
                Ok(client) => break client,
                Err(error) if tries == 3 => panic!("Chromium does not start: {error}"),
                Err(_) => {}
            }
        };
        let browser = Self(client);
        browser.resize(1280, 800).await;
        browser
    }

    /// Opens a page and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        self.0.goto(url).await.unwrap();
    }

    /// Loads the page anew.
    pub async fn reload(&self) {
        self.0.refresh().await.unwrap();
    }

    /// The back button.
    pub async fn back(&self) {
        self.0.back().await.unwrap();
    }

    /// Clicks the first element that the selector finds.
    pub async fn click(&self, selector: &str) {
        self.0.find(Locator::Css(selector)).await.unwrap().click().await.unwrap();
    }

    /// Clicks what leads to another page, or to this one anew, and waits until that is loaded.
    pub async fn follow(&self, selector: &str) {
        self.script("window.isOld = true", json!([])).await;
        self.click(selector).await;
        let start = Instant::now();
        while self.script("return !window.isOld && document.readyState === 'complete'", json!([])).await
            != true
        {
            assert!(start.elapsed() < PATIENCE, "{selector} leads nowhere");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Types into whatever has the focus.
    pub async fn press(&self, keys: &str) {
        self.0.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    /// The text of the first element that the selector finds, as a reader sees it; empty if there is none.
    pub async fn text(&self, selector: &str) -> String {
        let found = self
            .script("return document.querySelector(arguments[0])?.innerText ?? ''", json!([selector]))
            .await;
        found.as_str().unwrap().trim().to_owned()
    }

    /// An attribute of the first element that the selector finds.
    pub async fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        let script = "return document.querySelector(arguments[0])?.getAttribute(arguments[1])";
        self.script(script, json!([selector, name])).await.as_str().map(str::to_owned)
    }

    /// Waits until the text of an element has this in it.
    pub async fn wait_for(&self, selector: &str, text: &str) {
        let start = Instant::now();
        loop {
            let shown = self.text(selector).await;
            if shown.contains(text) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{selector} shows {shown:?}, never {text:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What a script in the page returns. A promise is waited for.
    pub async fn script(&self, script: &str, arguments: Value) -> Value {
        let Value::Array(arguments) = arguments else { panic!("arguments are a list") };
        self.0.execute(script, arguments).await.unwrap()
    }

    /// A command of the Chrome DevTools Protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.0.issue_cmd(Post { path: "goog/cdp/execute", body }).await.unwrap()
    }

    /// Gives the window so many CSS pixels for the page.
    pub async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Sets what the reader prefers, as `prefers-color-scheme` is `dark`.
    pub async fn prefer(&self, preferences: &[(&str, &str)]) {
        let features: Vec<_> =
            preferences.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Switches scripts off, those of [`Self::script`] excepted.
    pub async fn without_scripts(&self) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    }

    /// What is in the window, as a PNG.
    pub async fn screenshot(&self) -> Vec<u8> {
        self.0.screenshot().await.unwrap()
    }

    /// What the console said since this was asked last: errors of scripts, of loading, of the content security policy.
    pub async fn console(&self) -> Vec<String> {
        let log =
            self.0.issue_cmd(Post { path: "se/log", body: json!({ "type": "browser" }) }).await.unwrap();
        let message = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        log.as_array().unwrap().iter().map(message).collect()
    }

    /// Ends the browser; its console must have said nothing.
    pub async fn end(self) {
        assert_eq!(self.console().await, [""; 0]);
        self.quit().await;
    }

    /// Ends the browser, whatever its console said: for outages, which it tells of.
    pub async fn quit(self) {
        self.0.close().await.unwrap();
    }
}

/// A command of chromedriver that is not part of WebDriver.
struct Post {
    path: &'static str,
    body: Value,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path)
    }
}

impl WebDriverCompatibleCommand for Post {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

/// axe-core, the accessibility checker, as a script.
pub fn axe() -> String {
    let this = std::env::current_exe().unwrap();
    let path = this.ancestors().nth(3).unwrap_or(Path::new("")).join("axe-core/package/axe.min.js");
    std::fs::read_to_string(&path).unwrap_or_else(|_| {
        panic!("no axe-core in {}: `cargo xtask test` gets it", path.display());
    })
}
