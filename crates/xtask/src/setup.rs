//! Getting what a fresh machine lacks, and saying so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Runs a command with its output shown.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{:?}", command).replace('"', "");
    println!("+ {shown}");
    let status = command.status().with_context(|| format!("can't start: {shown}"))?;
    if !status.success() {
        bail!("failed ({status}): {shown}");
    }
    Ok(())
}

/// What a command prints.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}").replace('"', "");
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
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("xtask is in crates/").to_owned()
}

/// Where cargo puts what it builds: this program lies in the folder of its profile there.
pub fn target() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("can't tell where this program is")?;
    this.ancestors().nth(2).map(Path::to_owned).context("this program is not in a folder of cargo")
}

/// Builds all programs, and says in which folder they are. All at once: for one package alone, cargo would choose other
/// features for its dependencies and build them anew.
pub fn programs() -> anyhow::Result<PathBuf> {
    run(Command::new("cargo").args(["build", "--quiet", "--locked", "--workspace", "--bins"]))?;
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
