//! The cluster that kubectl reaches.

mod preconditions;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::process::Command;

pub use preconditions::{no_voting, preconditions};

/// Time limit of a command; the longest of the tutorial is 15 minutes.
const LIMIT: Duration = Duration::from_secs(16 * 60);

/// The folder of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs commands in bash, as the tutorial's reader does.
#[derive(Debug)]
pub struct Shell {
    /// Keeps the kubeconfig file and the variables of the commands.
    folder: TempDir,
    kubeconfig: Option<PathBuf>,
    /// Where the commands run.
    directory: Mutex<PathBuf>,
}

impl Shell {
    /// # Errors
    /// The context is unknown.
    pub async fn new(context: Option<&str>) -> anyhow::Result<Self> {
        let directory = Mutex::new(repository());
        let mut shell = Self { folder: TempDir::new()?, kubeconfig: None, directory };
        if let Some(context) = context {
            let config = format!("kubectl config view --raw --minify --flatten --context '{context}'");
            let config = shell.run(&config).await?;
            let path = shell.folder.path().join("kubeconfig");
            // The folder is private.
            std::fs::write(&path, config)?;
            shell.kubeconfig = Some(path);
        }
        Ok(shell)
    }

    /// Runs the following commands in this folder instead of the repository.
    pub fn go_to(&self, folder: &Path) {
        folder.clone_into(&mut self.directory.lock().unwrap());
    }

    fn variables(&self) -> PathBuf {
        self.folder.path().join("variables")
    }

    /// Runs a script and returns its output. The next one knows the values of `INGRESS_IP` and `CURL_CA_BUNDLE`.
    ///
    /// # Errors
    /// The script failed, with its output.
    pub async fn run(&self, script: &str) -> anyhow::Result<String> {
        let file = self.variables();
        let file = file.display();
        let script = format!(
            "[ ! -e {file} ] || . {file}\n{script}\nstatus=$?\ndeclare -p INGRESS_IP CURL_CA_BUNDLE >{file} 2>/dev/null || :\nexit $status"
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir(self.directory.lock().unwrap().as_path());
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        // A group of its own: Ctrl-C ends it through its owner, which then cleans up.
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn().context("bash")?;
        let group = Group(child.id());
        let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.context("timeout")??;
        std::mem::forget(group);
        let printed = String::from_utf8(output.stdout)?;
        if !output.status.success() {
            bail!("{}\n{printed}{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(printed)
    }

    /// The ids of all ballots in Redis.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn ballots_in_redis(&self) -> anyhow::Result<Vec<[u8; 16]>> {
        let script = "local ids = {}
            for _, key in ipairs(redis.call('KEYS', 'voting:*:ballots:*')) do
              for _, id in ipairs(redis.call('SMEMBERS', key)) do
                ids[#ids + 1] = (id:gsub('.', function(byte) return ('%02x'):format(byte:byte()) end))
              end
            end
            return ids";
        let store = "kubectl exec deployment/voting-storage-1-0 --container redis --namespace voting --";
        ids(&self.run(&format!("{store} redis-cli -e eval \"{script}\" 0")).await?)
    }

    /// The ids of all ballots in MySQL.
    ///
    /// # Errors
    /// MySQL does not answer.
    pub async fn ballots_in_mysql(&self) -> anyhow::Result<Vec<[u8; 16]>> {
        let store = "kubectl exec deployment/voting-storage-2-0 --container mysql --namespace voting --";
        let client = "MYSQL_PWD=$(cat $MYSQL_PASSWORD_FILE) mysql --protocol=tcp --host=127.0.0.1 --user=$MYSQL_USER --skip-column-names";
        let query = "SELECT HEX(id) FROM ballots";
        let script = format!("{client} --execute=\"{query}\" $MYSQL_DATABASE");
        ids(&self.run(&format!("{store} bash -c '{script}'")).await?)
    }
}

/// Parses a hexadecimal number per line.
fn ids(lines: &str) -> anyhow::Result<Vec<[u8; 16]>> {
    let id = |line: &str| u128::from_str_radix(line, 16).map(u128::to_be_bytes).context(line.to_owned());
    lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(id).collect()
}

/// The processes of a command; its end ends them.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            let _ = std::process::Command::new("kill").args(["-KILL", "--", &format!("-{id}")]).status();
        }
    }
}
