//! A real browser without a screen, controlled through WebDriver.

mod driver;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fantoccini::error::CmdError;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::Method;
use serde_json::{Value, json};
use url::{ParseError, Url};

use self::driver::Driver;
pub use self::driver::{Engine, chromium};
use crate::PATIENCE;
use crate::file::target;

/// A browser with a new profile and one window.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    engine: Engine,
    _driver: Arc<Driver>,
}

impl Browser {
    /// Chromium with a viewport of 1280 by 800 pixels.
    pub async fn start() -> Self {
        Self::of(Engine::Chromium).await
    }

    /// Chromium with more arguments. A repeated argument takes the place of the first one.
    pub async fn start_with(arguments: &[String]) -> Self {
        Self::connect(Engine::Chromium, arguments).await
    }

    /// A browser of this engine, with a viewport of 1280 by 800 pixels.
    pub async fn of(engine: Engine) -> Self {
        Self::connect(engine, &[]).await
    }

    async fn connect(engine: Engine, arguments: &[String]) -> Self {
        let Value::Object(capabilities) = engine.capabilities(arguments) else { unreachable!() };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities);
        let mut tries = 0;
        // On a busy machine a browser may miss a deadline of its driver.
        let (client, driver) = loop {
            tries += 1;
            let driver = Driver::of(engine);
            match builder.connect(&driver.url).await {
                Ok(client) => break (client, driver),
                Err(error) if tries == 3 => panic!("{engine:?} does not start: {error}"),
                Err(_) => {}
            }
        };
        let browser = Self { client, engine, _driver: driver };
        browser.resize(1280, 800).await;
        browser
    }

    pub fn engine(&self) -> Engine {
        self.engine
    }

    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// The address of the page.
    pub async fn address(&self) -> String {
        self.client.current_url().await.unwrap().to_string()
    }

    pub async fn reload(&self) {
        self.client.refresh().await.unwrap();
    }

    pub async fn back(&self) {
        self.client.back().await.unwrap();
    }

    pub async fn click(&self, selector: &str) {
        self.client.find(Locator::Css(selector)).await.unwrap().click().await.unwrap();
    }

    /// Clicks a link or button and waits until the next page is loaded.
    pub async fn follow(&self, selector: &str) {
        self.script("window.isOld = true", json!([])).await;
        self.click(selector).await;
        let is_next = "return !window.isOld && document.readyState === 'complete'";
        let start = Instant::now();
        // Between the pages there is none, and the script fails.
        while !matches!(self.client.execute(is_next, Vec::new()).await, Ok(Value::Bool(true))) {
            assert!(start.elapsed() < PATIENCE, "{selector} leads nowhere");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Types into the focused element.
    pub async fn press(&self, keys: &str) {
        self.client.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    /// The visible text of the first element that matches the selector; empty without such an element.
    pub async fn text(&self, selector: &str) -> String {
        self.text_or_error(selector).await.unwrap()
    }

    async fn text_or_error(&self, selector: &str) -> Result<String, CmdError> {
        let script = "return document.querySelector(arguments[0])?.innerText ?? ''";
        let found = self.client.execute(script, vec![json!(selector)]).await?;
        Ok(found.as_str().unwrap_or_default().trim().to_owned())
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
            // There may be no page at the moment.
            let shown = self.text_or_error(selector).await;
            if shown.as_ref().is_ok_and(|shown| shown.contains(text)) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{selector} shows {shown:?}, never {text:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs a script in the page and returns its result; awaits a promise.
    pub async fn script(&self, script: &str, arguments: Value) -> Value {
        let Value::Array(arguments) = arguments else { panic!("arguments are a list") };
        self.client.execute(script, arguments).await.unwrap()
    }

    /// Runs a command of the Chrome DevTools Protocol, in Chromium.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.client.issue_cmd(Post { path: "goog/cdp/execute", body }).await.unwrap()
    }

    /// Sets the size of the viewport in CSS pixels; see [`Engine::narrowest`].
    pub async fn resize(&self, width: u32, height: u32) {
        if self.engine == Engine::Chromium {
            let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
            self.devtools("Emulation.setDeviceMetricsOverride", size).await;
            return;
        }
        // WebDriver sets the size of the window with its borders and bars.
        let frame = "return [outerWidth - innerWidth, outerHeight - innerHeight]";
        let size = "return [innerWidth, innerHeight]";
        let start = Instant::now();
        while self.script(size, json!([])).await != json!([width, height]) {
            assert!(start.elapsed() < PATIENCE, "the viewport does not become {width} by {height}");
            let frame = self.script(frame, json!([])).await;
            let [x, y] = [0, 1].map(|side| u32::try_from(frame[side].as_u64().unwrap_or_default()).unwrap());
            self.client.set_window_size(width + x, height + y).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sets media features such as `prefers-color-scheme: dark`. WebKit has none to set.
    pub async fn prefer(&self, preferences: &[(&str, &str)]) {
        match self.engine {
            Engine::Chromium => {
                let features: Vec<_> =
                    preferences.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
                self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
            }
            Engine::Firefox => {
                for preference in preferences {
                    let (name, value) = match preference {
                        ("prefers-color-scheme", "dark") => {
                            ("layout.css.prefers-color-scheme.content-override", 0)
                        }
                        ("prefers-color-scheme", "light") => {
                            ("layout.css.prefers-color-scheme.content-override", 1)
                        }
                        ("prefers-reduced-motion", "reduce") => ("ui.prefersReducedMotion", 1),
                        ("forced-colors", "active") => ("browser.display.document_color_use", 2),
                        other => panic!("Firefox has no setting for {other:?}"),
                    };
                    self.setting(name, value).await;
                }
            }
            Engine::WebKit => panic!("WebKit has no setting for {preferences:?}"),
        }
    }

    /// Doubles the size of text in Chromium and Firefox, for the pages from now on.
    pub async fn double_text(&self) {
        match self.engine {
            Engine::Chromium => {
                let sizes = json!({ "fontSizes": { "standard": 32 } });
                self.devtools("Page.setFontSizes", sizes).await;
            }
            Engine::Firefox => self.setting("font.size.variable.x-western", 32).await,
            Engine::WebKit => panic!("WebKit has no setting for the size of text"),
        }
    }

    /// Changes a setting of Firefox.
    async fn setting(&self, name: &str, value: i32) {
        let context = async |context: &str| {
            let body = json!({ "context": context });
            self.client.issue_cmd(Post { path: "moz/context", body }).await.unwrap();
        };
        context("chrome").await;
        self.script("Services.prefs.setIntPref(arguments[0], arguments[1])", json!([name, value])).await;
        context("content").await;
    }

    /// Disables the scripts of pages in Chromium.
    pub async fn without_scripts(&self) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    }

    /// A screenshot as PNG.
    pub async fn screenshot(&self) -> Vec<u8> {
        self.client.screenshot().await.unwrap()
    }

    /// Console messages since the last call: errors of scripts, of loading, of the content security policy. Only Chromium's driver
    /// has them.
    pub async fn console(&self) -> Vec<String> {
        if self.engine != Engine::Chromium {
            return Vec::new();
        }
        let log =
            self.client.issue_cmd(Post { path: "se/log", body: json!({ "type": "browser" }) }).await.unwrap();
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
        self.client.close().await.unwrap();
    }
}

/// A command of a driver that is not part of WebDriver.
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
    let path = target().join("npm/node_modules").join(file);
    assert!(path.is_file(), "no {}: `cargo xtask test` gets it", path.display());
    path
}
