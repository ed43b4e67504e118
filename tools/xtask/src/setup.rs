//! Getting what a fresh machine lacks, and saying so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

/// Runs a command with its output shown.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = shown(command);
    println!("+ {shown}");
    let status = command.status().with_context(|| format!("can't start: {shown}"))?;
    if !status.success() {
        bail!("failed ({status}): {shown}");
    }
    Ok(())
}

/// `cargo`, as if started by hand: without what the cargo that runs this program has told it of itself. Build scripts
/// that look at that would run anew each time, and all that depends on them would be built again.
pub fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Says what is done, does it, and says how long it took.
pub fn step<T>(what: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    println!("xtask: {what}");
    let done = work().with_context(|| what.to_owned())?;
    println!("xtask: {what}: {:.0} s", start.elapsed().as_secs_f32());
    Ok(done)
}

/// A command as somebody would type it.
fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    words.join(std::ffi::OsStr::new(" ")).to_string_lossy().into_owned()
}

/// What a command prints.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = shown(command);
    let output = command.output().with_context(|| format!("can't start: {shown}"))?;
    if !output.status.success() {
        bail!("failed ({}): {shown}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Makes sure that a Docker engine answers, with the plugins that the images and compose need.
pub fn engine() -> anyhow::Result<()> {
    for (arguments, lacks) in [
        (["version", "--format={{.Server.Version}}"], "a Docker engine that answers"),
        (["buildx", "version"], "Docker's plugin buildx"),
        (["compose", "version"], "Docker's plugin compose, version 2"),
    ] {
        if output(Command::new("docker").args(arguments)).is_err() {
            bail!("this machine lacks {lacks}; `docker {}` says why", arguments.join(" "));
        }
    }
    Ok(())
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("xtask is in tools/").to_owned()
}

/// Where cargo puts what it builds: this program lies in the folder of its profile there.
pub fn target() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("can't tell where this program is")?;
    this.ancestors().nth(2).map(Path::to_owned).context("this program is not in a folder of cargo")
}

/// Builds all programs, and says in which folder they are. All at once: for one package alone, cargo would choose other
/// features for its dependencies and build them anew.
pub fn programs() -> anyhow::Result<PathBuf> {
    run(cargo().args(["build", "--quiet", "--locked", "--workspace", "--bins"]))?;
    Ok(target()?.join("debug"))
}

/// Makes sure that the tests find a Redis and a MySQL or MariaDB. The tests of faults kill and freeze servers, so
/// the programs are needed where Docker or a URL gives the others.
pub fn servers() -> anyhow::Result<()> {
    let mut missing = Vec::new();
    if !is_there(&["redis-server", "valkey-server"]) {
        missing.push("redis-server");
    }
    // MariaDB's tables are made by a script of the one package that needs a program of the other.
    let has_mariadb = is_there(&["mariadbd"]) && is_there(&["my_print_defaults"]);
    if !is_there(&["mysqld"]) && !has_mariadb {
        missing.extend(["mariadb-server-core", "mariadb-client-core"]);
    }
    if missing.is_empty() {
        println!("Servers for the tests: Redis and MySQL or MariaDB are on this machine.");
        return Ok(());
    }
    println!("Servers for the tests: this machine lacks {}.", missing.join(" and "));
    install(&missing)
}

/// The release of axe-core, the checker of accessibility.
const AXE: &str = "axe-core@4.14.1";

/// Makes sure that the tests of the page find a Chromium, its driver, and axe-core.
pub fn browser() -> anyhow::Result<()> {
    let mut missing = Vec::new();
    if !is_there(&["chromium", "chromium-browser", "google-chrome"]) {
        missing.push("chromium");
    }
    if !is_there(&["chromedriver"]) {
        missing.push("chromium-driver");
    }
    let axe = target()?.join("axe-core");
    let has_axe = axe.join(AXE).is_file();
    if !has_axe && !is_there(&["npm"]) {
        missing.push("npm");
    }
    if !missing.is_empty() {
        println!("A browser for the tests: this machine lacks {}.", missing.join(" and "));
        install(&missing)?;
    }
    if !has_axe {
        std::fs::create_dir_all(&axe).with_context(|| axe.display().to_string())?;
        run(Command::new("npm").args(["pack", "--silent", AXE]).current_dir(&axe))?;
        let archive = format!("{}.tgz", AXE.replace('@', "-"));
        run(Command::new("tar").args(["-xzf", &archive]).current_dir(&axe))?;
        // Says that all of it is there, and which release.
        std::fs::rename(axe.join(archive), axe.join(AXE))?;
    }
    println!("A browser for the tests: Chromium, its driver and axe-core are on this machine.");
    Ok(())
}

/// Makes sure that the tests of the rules find Prometheus and its promtool.
pub fn prometheus() -> anyhow::Result<()> {
    if is_there(&["prometheus"]) && is_there(&["promtool"]) {
        return Ok(());
    }
    println!("Tests of the alert rules: this machine lacks Prometheus.");
    install(&["prometheus"])
}

/// Installs packages of Debian or Ubuntu; elsewhere says what to install.
pub fn install(packages: &[&str]) -> anyhow::Result<()> {
    let list = packages.join(" ");
    let is_debian = is_there(&["apt-get"]);
    if !is_debian {
        bail!("install these with the package manager of this system (Debian's names): {list}");
    }
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.starts_with(b"0\n"));
    if !is_root {
        bail!("only root can install; run: sudo apt-get install --no-install-recommends {list}");
    }
    run(Command::new("apt-get").args(["-qq", "update"]))?;
    run(Command::new("apt-get")
        .args(["-qq", "install", "--yes", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Only the programs are wanted: the tests start servers of their own.
        .env("RUNLEVEL", "1")
        .stdout(Stdio::null()))
}

/// Whether one of these programs is on the `PATH` or where distributions put servers.
pub fn is_there(names: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    names.iter().any(|name| folders.iter().any(|folder| folder.join(name).is_file()))
}
