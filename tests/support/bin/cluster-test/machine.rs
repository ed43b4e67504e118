//! The state of the machine that a cluster must not change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Lines by subject.
#[derive(Debug, PartialEq, Eq)]
pub struct Machine(BTreeMap<&'static str, BTreeSet<String>>);

impl Machine {
    /// The state now, but for files.
    ///
    /// # Errors
    /// A program that lists a part of it is missing or fails.
    pub fn now() -> anyhow::Result<Self> {
        let command = |program: &str, arguments: &[&str]| {
            let output =
                Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
            ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8_lossy(&output.stdout);
            Ok(text.lines().map(ToOwned::to_owned).collect::<BTreeSet<_>>())
        };
        let addresses = command("ip", &["-oneline", "address"])?;
        Ok(Self(BTreeMap::from([
            ("packet filter rule", command("nft", &["--stateless", "list", "ruleset"])?),
            ("IP set", command("ipset", &["list", "-name"])?),
            ("address", addresses.into_iter().map(without_lifetime).collect()),
            ("route", command("ip", &["route", "show", "table", "all"])?),
            ("mount", mounts()),
            ("cgroup", cgroups()),
            ("kernel setting", settings(Path::new("/proc/sys"))),
        ])))
    }

    /// Adds the names of the files in the system's folders.
    pub fn with_files(mut self) -> Self {
        let folders = [
            "/etc",
            "/etc/cni",
            "/opt",
            "/opt/cni",
            "/run",
            "/var/lib",
            "/var/lib/cni",
            "/var/log",
            "/var/run",
        ];
        self.0.insert("file", folders.iter().flat_map(|folder| names(Path::new(folder))).collect());
        self
    }

    /// What is there and was not before, and what is gone.
    pub fn difference(&self, before: &Self) -> Vec<String> {
        let mut difference = Vec::new();
        for (subject, lines) in &self.0 {
            let none = BTreeSet::new();
            let old = before.0.get(subject).unwrap_or(&none);
            difference.extend(lines.difference(old).map(|line| format!("new {subject}: {line}")));
            difference.extend(old.difference(lines).map(|line| format!("missing {subject}: {line}")));
        }
        difference
    }
}

fn without_lifetime(line: String) -> String {
    line.split(" valid_lft").next().unwrap_or(&line).trim_end_matches('\\').trim().to_owned()
}

fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').nth(1)).map(ToOwned::to_owned).collect()
}

/// The names below the roots of the hierarchies.
fn cgroups() -> BTreeSet<String> {
    let roots = names(Path::new("/sys/fs/cgroup"));
    let groups = roots.iter().flat_map(|root| names(Path::new(root)));
    groups.chain(roots.clone()).filter(|path| Path::new(path).is_dir()).collect()
}

/// The kernel's settings with their values.
fn settings(folder: &Path) -> BTreeSet<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut settings = BTreeSet::new();
    for path in names(folder).into_iter().map(PathBuf::from) {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_dir() {
            settings.extend(self::settings(&path));
        } else if metadata.permissions().mode() & 0o600 == 0o600 && !path.ends_with("kernel/ns_last_pid") {
            let value = fs::read_to_string(&path).unwrap_or_default();
            settings.insert(format!("{} = {}", path.display(), value.trim()));
        }
    }
    settings
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}

/// The namespaces of a process.
pub fn namespaces(process: &Path) -> BTreeSet<PathBuf> {
    let links = names(&process.join("ns"));
    links.iter().filter_map(|link| fs::read_link(link).ok()).collect()
}

/// The processes of this machine.
pub fn processes() -> Vec<PathBuf> {
    let is_process = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
    };
    names(Path::new("/proc")).into_iter().map(PathBuf::from).filter(is_process).collect()
}
