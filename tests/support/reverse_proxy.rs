//! Reverse proxies in front of the page: nginx, HAProxy, Envoy and Traefik, with the examples of `docs/proxies.md`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::file::target;
use crate::http::Visitor;
use crate::servers::find_program;
use crate::watchdog::Watchdog;
use crate::{PATIENCE, eventually, free_port};

/// A running proxy, which ends with the test.
#[derive(Debug)]
pub struct ReverseProxy {
    pub port: u16,
    _child: Child,
    _watchdog: Watchdog,
    _folder: TempDir,
}

/// The examples of this language in `docs/proxies.md`, in their order.
pub fn examples(language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/proxies.md")).unwrap();
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n').map(str::to_owned)).collect()
}

/// The example with its service replaced by this one.
fn calling(example: &str, app: SocketAddr) -> String {
    assert!(example.contains("voting-app:8080"), "no voting-app:8080 in {example}");
    example.replace("voting-app:8080", &app.to_string())
}

/// The example with its port and its service replaced by these.
fn placed(example: &str, listen: &str, port: u16, app: SocketAddr) -> String {
    assert!(example.contains(listen), "no {listen} in {example}");
    let number = listen.trim_start_matches(|character: char| !character.is_ascii_digit());
    let here = format!("{}127.0.0.1:{port}", listen.trim_end_matches(number).trim_end_matches([':', '*']));
    calling(&example.replace(listen, &here), app)
}

impl ReverseProxy {
    /// nginx with this `server`, which listens on port 80 and calls `voting-app:8080`.
    pub async fn nginx(server: &str, app: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let at = folder.path().display();
        // Its temporary files go to the folder, its other defaults are nginx's own.
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {at}/{name};\n"))
            .collect();
        let server = placed(server, "listen 80", port, app);
        let text = format!(
            "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{server}\n}}\n"
        );
        let file = write(&folder, "nginx.conf", &text);
        let mut command = Command::new(find(&["nginx"], "nginx"));
        command.arg("-e").arg("stderr").arg("-p").arg(folder.path()).arg("-c").arg(file);
        Self::spawn(command, port, folder).await
    }

    /// HAProxy with these sections, which bind port 80 and call `voting-app:8080`.
    pub async fn haproxy(sections: &str, app: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let file = write(&folder, "haproxy.cfg", &placed(sections, "bind :80", port, app));
        let mut command = Command::new(find(&["haproxy"], "haproxy"));
        command.arg("-db").arg("-f").arg(file);
        Self::spawn(command, port, folder).await
    }

    /// Envoy with this `route_config`, whose routes name the cluster `voting-app`.
    pub async fn envoy(route_config: &str, app: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let routes: Value = serde_yaml_ng::from_str(route_config).unwrap();
        let address =
            |address: &str, port: u16| json!({"socket_address": {"address": address, "port_value": port}});
        let app = address(&app.ip().to_string(), app.port());
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "poll",
            "route_config": routes,
            "http_filters": [{
                "name": "router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }],
        });
        let config = json!({"static_resources": {
            "listeners": [{
                "address": address("127.0.0.1", port),
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
            }],
            "clusters": [{
                "name": "voting-app",
                "load_assignment": {
                    "cluster_name": "voting-app",
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": app}}]}],
                },
            }],
        }});
        let file = write(&folder, "envoy.json", &config.to_string());
        let mut command = Command::new(in_python_environment("envoy"));
        command.arg("--config-path").arg(file);
        command.args(["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"]);
        Self::spawn(command, port, folder).await
    }

    /// Traefik with this dynamic configuration, which calls `voting-app:8080`.
    pub async fn traefik(config: &str, app: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let file = write(&folder, "dynamic.yaml", &calling(config, app));
        let mut command = Command::new(in_python_environment("traefik"));
        command.arg(format!("--providers.file.filename={}", file.display()));
        command.arg(format!("--entrypoints.poll.address=127.0.0.1:{port}"));
        command.args(["--global.checknewversion=false", "--global.sendanonymoususage=false"]);
        let proxy = Self::spawn(command, port, folder).await;
        // It listens before it has read the file.
        eventually("Traefik has its routes", PATIENCE, async || {
            // Any page of the app, rather than Traefik's own error.
            Visitor::new(proxy.url("127.0.0.1")).get("/poll/").await.text.contains("<html")
        })
        .await;
        proxy
    }

    async fn spawn(mut command: Command, port: u16, folder: TempDir) -> Self {
        let log = folder.path().join("log");
        let file = std::fs::File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let watchdog = Watchdog::new(&format!("kill -9 {}", child.id().unwrap()));
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let is_late = start.elapsed() > PATIENCE;
            if is_late || child.try_wait().unwrap().is_some() {
                panic!("the proxy did not start:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Self { port, _child: child, _watchdog: watchdog, _folder: folder }
    }

    /// Its URL without a trailing slash, at this host.
    pub fn url(&self, host: &str) -> String {
        format!("http://{host}:{}", self.port)
    }
}

fn write(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    file
}

fn find(names: &[&str], package: &str) -> PathBuf {
    find_program(names).unwrap_or_else(|| {
        panic!("no {package}: put it on the PATH (`cargo xtask test` installs it on Debian and Ubuntu)")
    })
}

/// A program that `cargo xtask test` installs from a Python package: the one that this variable, such as `ENVOY`, names,
/// or that in the target directory.
fn in_python_environment(name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(name.to_uppercase()) {
        return path.into();
    }
    let path = target().join("mesh/bin").join(name);
    assert!(path.is_file(), "no {}: `cargo xtask test` installs it", path.display());
    path
}
