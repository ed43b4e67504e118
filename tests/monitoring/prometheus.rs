//! Unit tests of the rules with promtool, and a real Prometheus that scrapes the real services.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use voting_tests::http::{Visitor, send};
use voting_tests::servers::find_program;
use voting_tests::{eventually, free_port};

use crate::queries::{HASH, HURRY, all, hurried, rule_file};
use crate::read;
use crate::traffic::Poll;

/// A program of the Debian package.
fn program(name: &str) -> PathBuf {
    find_program(&[name]).unwrap_or_else(|| {
        panic!("this machine has no {name}: run `cargo xtask test`, or install the package prometheus")
    })
}

async fn promtool(arguments: &[&str], folder: &TempDir) {
    let output = Command::new(program("promtool")).args(arguments).current_dir(folder.path()).output();
    let output = output.await.unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.success(), "promtool {}\n{text}", arguments.join(" "));
}

#[tokio::test]
async fn the_rules_pass_their_unit_tests() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("rules.yaml", &rule_file(true).to_string());
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"], &folder).await;
    // The unit tests compare whole alerts; annotations are not repeated there.
    write("rules.yaml", &rule_file(false).to_string());
    write("tests.yaml", &read("tests/monitoring/promtool.yaml"));
    promtool(&["test", "rules", "tests.yaml"], &folder).await;
}

struct Prometheus {
    _child: Child,
    _folder: TempDir,
    visitor: Visitor,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes the services as the PodMonitor does and evaluates the rules, [`HURRY`] times as fast.
    async fn start(poll: &Poll) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut rules = rule_file(true);
        for group in rules["groups"].as_array_mut().unwrap() {
            group["interval"] = hurried(group["interval"].as_str().unwrap()).into();
            for rule in group["rules"].as_array_mut().unwrap() {
                for duration in ["expr", "for", "keep_firing_for"] {
                    if let Some(text) = rule[duration].as_str() {
                        rule[duration] = hurried(text).into();
                    }
                }
            }
        }
        let target = |name: &str, address: std::net::SocketAddr| json!({"targets": [address.to_string()], "labels": {"namespace": "voting", "pod": name}});
        let config = json!({
            "global": {"scrape_interval": format!("{}ms", 15_000 / HURRY), "scrape_timeout": "500ms"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{
                "job_name": "voting/voting",
                "static_configs": [
                    target(&format!("voting-app-{HASH}-0"), poll.deployment.app.admin),
                    target("voting-analytics-0", poll.deployment.analytics.admin),
                ],
            }],
        });
        std::fs::write(folder.path().join("rules.yaml"), rules.to_string()).unwrap();
        std::fs::write(folder.path().join("prometheus.yml"), config.to_string()).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program("prometheus"))
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let start = Instant::now();
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
            assert!(start.elapsed() < Duration::from_secs(30), "Prometheus does not start:\n{}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { _child: child, _folder: folder, visitor: Visitor::new(format!("http://{address}")) }
    }

    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = url::Url::parse_with_params("http://x/", parameters).unwrap();
        let path = format!("/api/v1/{path}?{}", url.query().unwrap_or_default());
        let answer = send(self.visitor.request("GET", &path)).await;
        let mut body: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(body["status"], "success", "{path}: {}", answer.text);
        body["data"].take()
    }

    /// The current result of a query.
    async fn query(&self, text: &str) -> Vec<Value> {
        self.ask("query", &[("query", text)]).await["result"].as_array().unwrap().clone()
    }

    /// The names of firing alerts.
    async fn firing(&self) -> Vec<String> {
        let alerts = self.query("ALERTS{alertstate=\"firing\"}").await;
        alerts.iter().map(|alert| alert["metric"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_real_prometheus_answers_every_query_and_detects_a_forged_vote() {
    let poll = Poll::start().await;
    let prometheus = Prometheus::start(&poll).await;
    poll.see_everything().await;

    // Until the longest window is filled and no longer contains the events above.
    let visitor = poll.deployment.visitor();
    let window = Duration::from_secs(14 * 60 / HURRY);
    let start = Instant::now();
    while start.elapsed() < window {
        visitor.vote("Dogs").await;
        visitor.get("/").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut unanswered = Vec::new();
    for query in all() {
        let answer = prometheus.query(&hurried(&query.text)).await;
        if query.is_answered && answer.is_empty() {
            unanswered.push(format!("{}: {}", query.place, hurried(&query.text)));
        }
    }
    assert!(unanswered.is_empty(), "no answer:\n{}", unanswered.join("\n"));
    for group in prometheus.ask("rules", &[]).await["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
    }
    for account in ["voting:votes_lost:9m", "voting:votes_unexplained:9m"] {
        for choice in prometheus.query(account).await {
            assert_eq!(choice["value"][1], "0", "{choice}");
        }
    }
    assert_eq!(prometheus.firing().await, Vec::<String>::new());

    // A vote for Cats that no pod accepted.
    poll.redis.query::<u64>("INCR", &["Cats"]).await;
    eventually("it is found", window, async || {
        visitor.vote("Dogs").await;
        prometheus.firing().await == ["VotingVotesUnexplained"]
    })
    .await;
    let alerts = prometheus.ask("alerts", &[]).await;
    let text = alerts.to_string();
    assert!(
        text.contains("The store of voting-app 1.0 has at least 1 votes for Cats that no pod accepted"),
        "{text}"
    );
}
