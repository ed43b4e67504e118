//! The WebDriver programs of the engines.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::file::target;
use crate::servers::find_program;
use crate::watchdog::Watchdog;
use crate::{PATIENCE, free_port};

/// A browser engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Chromium with chromedriver.
    Chromium,
    /// Firefox with geckodriver.
    Firefox,
    /// WebKitGTK's MiniBrowser with WebKitWebDriver.
    WebKit,
}

impl Engine {
    /// The capabilities of a session. `arguments` are more arguments of the browser.
    pub(super) fn capabilities(self, arguments: &[String]) -> Value {
        let with = |defaults: &[&str]| -> Vec<String> {
            defaults.iter().map(|argument| (*argument).to_owned()).chain(arguments.iter().cloned()).collect()
        };
        match self {
            Self::Chromium => json!({
                "browserName": "chrome",
                "goog:loggingPrefs": { "browser": "ALL" },
                "goog:chromeOptions": {
                    "binary": chromium(),
                    "args": with(&[
                        "--headless", "--disable-gpu", "--hide-scrollbars", "--lang=en", "--force-device-scale-factor=1",
                        // For pages that browsers do not trust as they trust localhost.
                        "--host-resolver-rules=MAP *.example 127.0.0.1",
                        // Containers have no sandbox and little shared memory.
                        "--no-sandbox", "--disable-dev-shm-usage",
                        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                    ]),
                },
            }),
            Self::Firefox => json!({
                "browserName": "firefox",
                "moz:firefoxOptions": {
                    "binary": find(&["firefox-esr", "firefox"]),
                    "args": with(&["-headless"]),
                    "prefs": { "intl.accept_languages": "en" },
                },
            }),
            Self::WebKit => {
                json!({ "webkitgtk:browserOptions": { "args": with(&["--automation"]), "binary": mini_browser() } })
            }
        }
    }

    /// The narrowest viewport, in CSS pixels.
    pub fn narrowest(self) -> u32 {
        match self {
            Self::Chromium => 320,
            // That of their windows.
            Self::Firefox | Self::WebKit => 500,
        }
    }

    /// The path of the WebDriver program.
    fn driver(self) -> PathBuf {
        match self {
            Self::Chromium => find(&["chromedriver"]),
            Self::Firefox => {
                find_program(&["geckodriver"]).unwrap_or_else(|| target().join("tools/bin/geckodriver"))
            }
            Self::WebKit => find(&["WebKitWebDriver"]),
        }
    }
}

/// A running WebDriver program. Its end, or that of this process, ends its browsers.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) url: String,
    _process: Child,
    _watchdog: Watchdog,
}

impl Driver {
    /// A driver with room for one more session: that of Chromium has many, the others have one each.
    pub(super) fn of(engine: Engine) -> Arc<Self> {
        static CHROMIUM: OnceLock<Arc<Driver>> = OnceLock::new();
        match engine {
            Engine::Chromium => CHROMIUM.get_or_init(|| Arc::new(Self::start(engine))).clone(),
            Engine::Firefox | Engine::WebKit => Arc::new(Self::start(engine)),
        }
    }

    fn start(engine: Engine) -> Self {
        let port = free_port();
        // The profiles of killed browsers are removed with this folder.
        let profiles = TempDir::new().unwrap().keep();
        let mut command = Command::new(engine.driver());
        command.arg(format!("--port={port}")).env("TMPDIR", &profiles);
        match engine {
            Engine::Chromium => {}
            Engine::Firefox => {
                // Privileged scripts change settings that have no command of WebDriver.
                command.args(["--allow-system-access", "--log=fatal"]).env("HOME", &profiles);
                command.arg(format!("--websocket-port={}", free_port()));
            }
            Engine::WebKit => {
                command.env("DISPLAY", display()).env("HOME", &profiles).env("XDG_RUNTIME_DIR", &profiles);
            }
        }
        let process = command
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
            assert!(start.elapsed() < PATIENCE, "the driver of {engine:?} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { url: format!("http://127.0.0.1:{port}"), _process: process, _watchdog: watchdog }
    }
}

/// The X display of all browsers of this program that can't do without one.
fn display() -> &'static str {
    static DISPLAY: OnceLock<(String, Child, Watchdog)> = OnceLock::new();
    let (display, ..) = DISPLAY.get_or_init(|| {
        let mut server = Command::new(find(&["Xvfb"]))
            .args(["-displayfd", "1", "-screen", "0", "2000x1400x24", "-nolisten", "tcp"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let watchdog = Watchdog::new(&format!("kill {}", server.id()));
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
        (format!(":{}", number.trim()), server, watchdog)
    });
    display
}

/// A browser that the package of WebKitWebDriver has in a folder of libraries.
fn mini_browser() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let paths = ["webkit2gtk-4.1/MiniBrowser", "webkitgtk-6.0/MiniBrowser"];
    let found = folders
        .chain(["/usr/libexec".into()])
        .flat_map(|folder| paths.map(|path| folder.join(path)))
        .find(|path| path.is_file());
    found.expect("MiniBrowser of WebKitGTK (`cargo xtask test` installs it on Debian and Ubuntu)")
}

/// The path of Chromium.
pub fn chromium() -> PathBuf {
    find(&["chromium", "chromium-browser", "google-chrome"])
}

fn find(names: &[&str]) -> PathBuf {
    find_program(names).unwrap_or_else(|| {
        panic!("no {} on the PATH (`cargo xtask test` installs it on Debian and Ubuntu)", names[0])
    })
}
