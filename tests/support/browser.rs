//! A real browser: headless Chromium, controlled through chromedriver.

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

use crate::servers::find_program;
use crate::watchdog::Watchdog;
use crate::{PATIENCE, free_port};

/// The chromedriver of all browsers of this program. It ends with the program and ends the browsers.
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
        // The profiles of killed browsers are removed with this folder.
        let profiles = TempDir::new().unwrap().keep();
        let process = Command::new(find(&["chromedriver"]))
            .arg(format!("--port={port}"))
            .env("TMPDIR", &profiles)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // The browsers are in the process group of the driver.
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

/// A browser with a new profile and one window.
#[derive(Debug)]
pub struct Browser(Client);

impl Browser {
    /// A browser with a viewport of 1280 by 800 pixels.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more arguments of Chromium. A repeated argument takes the place of the first one.
    pub async fn start_with(arguments: &[String]) -> Self {
        let mut capabilities = json!({
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": {
                "binary": driver().chromium,
                "args": [
                    "--headless", "--disable-gpu", "--hide-scrollbars", "--lang=en", "--force-device-scale-factor=1",
                    // For pages that browsers do not trust as they trust localhost.
                    "--host-resolver-rules=MAP *.example 127.0.0.1",
                    // Containers have no sandbox and little shared memory.
                    "--no-sandbox", "--disable-dev-shm-usage",
                    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                ],
            },
        });
        if let Some(defaults) = capabilities["goog:chromeOptions"]["args"].as_array_mut() {
            defaults.extend(arguments.iter().map(|argument| json!(argument)));
        }
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities);
        let mut tries = 0;
        // On a busy machine Chromium may miss a deadline of its driver.
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

    pub async fn open(&self, url: &str) {
        self.0.goto(url).await.unwrap();
    }

    /// The address of the page.
    pub async fn address(&self) -> String {
        self.0.current_url().await.unwrap().to_string()
    }

    pub async fn reload(&self) {
        self.0.refresh().await.unwrap();
    }

    pub async fn back(&self) {
        self.0.back().await.unwrap();
    }

    pub async fn click(&self, selector: &str) {
        self.0.find(Locator::Css(selector)).await.unwrap().click().await.unwrap();
    }

    /// Clicks a link or button and waits until the next page is loaded.
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

    /// Types into the focused element.
    pub async fn press(&self, keys: &str) {
        self.0.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    /// The visible text of the first element that matches the selector; empty without such an element.
    pub async fn text(&self, selector: &str) -> String {
        let found = self
            .script("return document.querySelector(arguments[0])?.innerText ?? ''", json!([selector]))
            .await;
        found.as_str().unwrap().trim().to_owned()
    }

    /// An attribute of the first element that matches the selector.
    pub async fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        let script = "return document.querySelector(arguments[0])?.getAttribute(arguments[1])";
        self.script(script, json!([selector, name])).await.as_str().map(str::to_owned)
    }

    /// Waits until the text of an element contains `text`.
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

    /// Runs a script in the page and returns its result; awaits a promise.
    pub async fn script(&self, script: &str, arguments: Value) -> Value {
        let Value::Array(arguments) = arguments else { panic!("arguments are a list") };
        self.0.execute(script, arguments).await.unwrap()
    }

    /// Runs a command of the Chrome DevTools Protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.0.issue_cmd(Post { path: "goog/cdp/execute", body }).await.unwrap()
    }

    /// Sets the size of the viewport in CSS pixels.
    pub async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Sets media features such as `prefers-color-scheme: dark`.
    pub async fn prefer(&self, preferences: &[(&str, &str)]) {
        let features: Vec<_> =
            preferences.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Disables scripts except those of [`Self::script`].
    pub async fn without_scripts(&self) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    }

    /// A screenshot as PNG.
    pub async fn screenshot(&self) -> Vec<u8> {
        self.0.screenshot().await.unwrap()
    }

    /// Console messages since the last call: errors of scripts, of loading, of the content security policy.
    pub async fn console(&self) -> Vec<String> {
        let log =
            self.0.issue_cmd(Post { path: "se/log", body: json!({ "type": "browser" }) }).await.unwrap();
        let message = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        log.as_array().unwrap().iter().map(message).collect()
    }

    /// Ends the browser; the console must be empty.
    pub async fn end(self) {
        assert_eq!(self.console().await, [""; 0]);
        self.quit().await;
    }

    /// Ends the browser after an outage, which may leave messages in the console.
    pub async fn quit(self) {
        self.0.close().await.unwrap();
    }
}

/// A chromedriver command that is not part of WebDriver.
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

/// The script of axe-core, the accessibility checker.
pub fn axe() -> String {
    std::fs::read_to_string(page_checker("axe-core/axe.min.js")).unwrap()
}

/// A file of one of the checkers of pages.
pub fn page_checker(file: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let path = this.ancestors().nth(3).unwrap_or(Path::new("")).join("npm/node_modules").join(file);
    assert!(path.is_file(), "no {}: `cargo xtask test` gets it", path.display());
    path
}
