//! `voting-load` on a running poll: its account, its verdict, its metrics and its signals.

use std::net::SocketAddr;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use voting_tests::http::{Visitor, upstream};
use voting_tests::process::{Local, Service, Signal, clean, program};
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::Redis;
use voting_tests::{ClosedPort, PATIENCE, eventually, free_port};

/// The load on this poll.
fn load(url: &str, settings: &[(&str, &str)]) -> Command {
    let mut command = clean(&program("voting-load"));
    command.env("POLL_URL", url).env("LISTEN_ADDRESS", "127.0.0.1").env("ADMIN_PORT", "0");
    command.envs(settings.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How a load ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    account: String,
    stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), account: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ended {
    async fn of(child: Child) -> Self {
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        output.expect("the load does not end").unwrap().into()
    }

    /// The cells of a line of the account: a release each, then the total if there are several.
    fn cells(&self, name: &str) -> Vec<&str> {
        let line = self.account.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}: {self:#?}")).split_whitespace().collect()
    }

    fn numbers(&self, name: &str) -> Vec<u64> {
        self.cells(name).iter().map(|cell| cell.parse().unwrap()).collect()
    }
}

async fn run(url: &str, settings: &[(&str, &str)]) -> Ended {
    Ended::of(load(url, settings).spawn().unwrap()).await
}

/// The tutorial's step in one process.
async fn poll(step: &str) -> (Local, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Local::start(folder.path(), &["--step", step]).await, folder)
}

fn address(local: &Local) -> SocketAddr {
    let port = local.url.rsplit(':').next().unwrap().parse().unwrap();
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A gateway between voters and a poll.
#[derive(Clone)]
struct Gateway {
    client: reqwest::Client,
    to: String,
    requests: Arc<AtomicU64>,
}

impl Gateway {
    fn new(to: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { client: client.build().unwrap(), to: to.to_owned(), requests: Arc::default() }
    }

    /// The number of this request.
    fn number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    async fn pass_on(&self, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        let body = to_bytes(body, 100_000).await.unwrap();
        let url = format!("{}{}", self.to, parts.uri);
        // The poll's address is another one.
        for name in [header::HOST, header::ORIGIN] {
            parts.headers.remove(name);
        }
        let request = self.client.request(parts.method, url).headers(parts.headers).body(body);
        let Ok(answer) = request.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut response = Response::new(Body::from(answer.bytes().await.unwrap()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// Serves with this handler; returns the URL.
    async fn start<F>(self, handle: impl Fn(Self, Request) -> F + Clone + Send + Sync + 'static) -> String
    where
        F: Future<Output = Response> + Send,
    {
        let routes = Router::new().fallback(move |request: Request| handle(self.clone(), request));
        format!("http://{}", upstream(routes).await)
    }
}

#[tokio::test]
async fn a_cookie_of_all_voters_selects_the_release() {
    let (local, _folder) = poll("3").await;
    let ended = run(&local.url, &[("VOTERS", "4"), ("COOKIE", "featureflag=on"), ("BALLOTS", "20")]).await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    // A single release has no column of the total.
    assert_eq!(ended.cells("release of voting-app"), ["2.0"]);
    assert_eq!(ended.numbers("  accepted"), [20]);
}

#[tokio::test]
async fn a_canary_has_an_account_by_release() {
    let (local, _folder) = poll("3").await;
    Visitor::new(&local.url).vote("Dogs").await;
    let settings = [("VOTERS", "8"), ("FLAGGED", "25"), ("BALLOTS", "80"), ("PATIENCE", "60")];
    let ended = run(&local.url, &settings).await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(ended.cells("release of voting-app"), ["1.0", "2.0", "total"]);
    let ballots = ended.numbers("ballots");
    assert!(ballots[0] > 0 && ballots[1] > 0 && ballots[0] + ballots[1] == 80, "{ended:#?}");
    assert_eq!(ended.numbers("  accepted"), [ballots[0], ballots[1], 80]);
    for name in ["  refused", "  unknown", "lost", "doubled", "refused but counted", "stale reads"] {
        assert_eq!(ended.numbers(name), [0, 0, 0], "{name}");
    }
    // Each follows the redirect after its vote, but a read may be the first or last one of a voter. On a busy machine some
    // pages have no results.
    let no_results = ended.account.contains("error: no results on the page");
    let no_results = if no_results { ended.numbers("error: no results on the page")[2] } else { 0 };
    assert!(ended.numbers("reads")[2] + no_results >= 80, "{ended:#?}");
    assert!(ended.cells("latency p99, ms").iter().all(|cell| cell.parse::<f64>().unwrap() > 0.0));
    let after = 1 + ballots[0];
    let storage = format!("storage 1.0: 1 votes before the load, {after} after it, {after} after the audit");
    assert!(ended.account.contains(&storage), "{ended:#?}");
    assert!(ended.account.ends_with("\nevery promise held\n"), "{ended:#?}");
    let results = Visitor::new(&local.url).results().await;
    assert!(results.contains(&format!("/{after} (")), "{results}");
}

/// As step 3b of the tutorial does it: the gateway gives a new browser a cookie, which keeps it on its release.
#[tokio::test]
async fn voters_keep_the_cookie_of_a_sticky_canary() {
    let (local, _folder) = poll("3").await;
    let gateway = Gateway::new(&local.url).start(async |gateway, mut request: Request| {
        let cookies = request.headers().get(header::COOKIE).map(|value| value.to_str().unwrap().to_owned());
        let known = cookies.as_deref().and_then(|cookies| cookies.split_once("votingcanary=")?.1.get(..3));
        let new = if gateway.number() % 3 == 0 { "2.0" } else { "1.0" };
        if known.unwrap_or(new) == "2.0" {
            request.headers_mut().insert(header::COOKIE, HeaderValue::from_static("featureflag=on"));
        }
        let is_new = known.is_none();
        let mut response = gateway.pass_on(request).await;
        if is_new {
            let cookie = format!("votingcanary={new}; Path=/; Max-Age=86400; SameSite=Lax; HttpOnly");
            response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_str(&cookie).unwrap());
        }
        response
    });
    let ended = run(&gateway.await, &[("VOTERS", "12"), ("BALLOTS", "100")]).await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(ended.cells("release of voting-app"), ["1.0", "2.0", "total"]);
    assert!(ended.numbers("ballots").iter().all(|ballots| *ballots > 0), "{ended:#?}");
}

/// As the tutorial's step 4 does it under votes: without a voter on the old store, no request reaches its ballots.
#[tokio::test]
async fn ballots_of_a_store_that_no_voter_reaches_any_more_are_not_told() {
    let (local, _folder) = poll("3").await;
    let gateway = Gateway::new(&local.url).start(async |gateway, mut request: Request| {
        if gateway.number() >= 60 {
            request.headers_mut().insert(header::COOKIE, HeaderValue::from_static("featureflag=on"));
        }
        gateway.pass_on(request).await
    });
    let ended = run(&gateway.await, &[("VOTERS", "4"), ("BALLOTS", "80")]).await;
    assert_eq!((ended.code, ended.numbers("lost")[2]), (Some(3), 0), "{ended:#?}");
    let ballots = ended.numbers("ballots");
    let line =
        format!("storage 1.0: no voter reaches it any more, so its {} ballots can't be audited", ballots[0]);
    assert!(ballots[0] > 10 && ballots[1] > 10 && ended.account.contains(&line), "{ended:#?}");
    assert!(ended.account.contains("the account can't tell everything"), "{ended:#?}");
}

#[tokio::test]
async fn acknowledged_votes_that_a_proxy_swallows_are_lost() {
    let (local, _folder) = poll("2").await;
    let gateway = Gateway::new(&local.url).start(async |gateway, request: Request| {
        if request.method() == Method::POST && gateway.number() < 3 {
            let headers = [("location", "./"), ("x-vote-outcome", "counted")];
            let path = ("x-voting-path", "app=1.0, storage=1.0");
            return (StatusCode::SEE_OTHER, headers, [path]).into_response();
        }
        gateway.pass_on(request).await
    });
    let ended = run(&gateway.await, &[("BALLOTS", "40"), ("VOTERS", "4")]).await;
    assert_eq!((ended.code, ended.numbers("lost")), (Some(1), vec![3]), "{ended:#?}");
    assert!(ended.numbers("stale reads")[0] > 0, "{ended:#?}");
    assert!(ended.account.contains("\na promise was broken: "), "{ended:#?}");
}

#[tokio::test]
async fn votes_that_a_proxy_repeats_as_new_ones_are_doubled() {
    let (local, _folder) = poll("2").await;
    let gateway = Gateway::new(&local.url).start(async |gateway, request: Request| {
        if request.method() == Method::POST && gateway.number() < 3 {
            Visitor::new(&gateway.to).vote("Dogs").await;
        }
        gateway.pass_on(request).await
    });
    let ended = run(&gateway.await, &[("BALLOTS", "40"), ("VOTERS", "4")]).await;
    assert_eq!((ended.code, ended.numbers("doubled")), (Some(1), vec![3]), "{ended:#?}");
    assert!(ended.account.contains("3 votes in the results are of no ballot"), "{ended:#?}");
}

#[tokio::test]
async fn a_refused_vote_that_counts_breaks_a_promise() {
    let (local, _folder) = poll("2").await;
    // The first vote connects to the store, which may take too long for a voter without patience.
    Visitor::new(&local.url).vote("Dogs").await;
    let gateway = Gateway::new(&local.url).start(async |gateway, request: Request| {
        let is_lied_to = request.method() == Method::POST && gateway.number() < 2;
        let answer = gateway.pass_on(request).await;
        if is_lied_to {
            return (StatusCode::SERVICE_UNAVAILABLE, [("x-vote-outcome", "refused")]).into_response();
        }
        answer
    });
    let ended = run(&gateway.await, &[("BALLOTS", "20"), ("VOTERS", "4"), ("PATIENCE", "0")]).await;
    assert_eq!((ended.code, ended.numbers("refused but counted")), (Some(1), vec![2]), "{ended:#?}");
    assert_eq!(ended.numbers("error: 503 Service Unavailable, refused"), [2]);
}

/// Waits until a load has cast ballots, by its metrics.
async fn has_cast(admin: &Visitor, ballots: u64) {
    let cast = async || {
        let request = admin.request("GET", "/metrics").send().await;
        let Ok(answer) = request else { return false };
        let text = answer.text().await.unwrap();
        let counts = text.lines().filter(|line| line.starts_with("voting_load_ballots_total{"));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>() >= ballots
    };
    eventually("ballots are cast", PATIENCE, cast).await;
}

/// A load until it is stopped, and its operator's port.
fn endless(url: &str, settings: &[(&str, &str)]) -> (Child, Visitor) {
    let port = free_port().to_string();
    let child = load(url, &[&[("ADMIN_PORT", port.as_str())], settings].concat()).spawn().unwrap();
    (child, Visitor::new(format!("http://127.0.0.1:{port}")))
}

#[tokio::test]
async fn a_reset_of_the_poll_meanwhile_is_said() {
    let (local, _folder) = poll("2").await;
    let (child, admin) = endless(&local.url, &[("VOTERS", "4"), ("RATE", "50")]);
    has_cast(&admin, 30).await;
    Visitor::new(&local.url).vote("reset").await;
    has_cast(&admin, 60).await;
    Signal::Terminate.send(child.id().unwrap());
    let ended = Ended::of(child).await;
    assert_eq!((ended.code, ended.cells("doubled")), (Some(1), vec!["?"]), "{ended:#?}");
    assert!(ended.account.contains("the poll was reset meanwhile, or the store lost them"), "{ended:#?}");
}

#[tokio::test]
async fn other_voters_meanwhile_are_noticed() {
    let (local, _folder) = poll("2").await;
    let visitor = Visitor::new(&local.url);
    let others = tokio::spawn(async move {
        loop {
            visitor.vote("Cats").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let ended = run(&local.url, &[("BALLOTS", "20"), ("VOTERS", "4")]).await;
    others.abort();
    assert_eq!((ended.code, ended.cells("doubled")), (Some(3), vec!["?"]), "{ended:#?}");
    assert_eq!((ended.numbers("lost"), ended.numbers("  accepted")), (vec![0], vec![20]));
    assert!(
        ended.account.contains("the poll had other voters, so doubled votes can't be told"),
        "{ended:#?}"
    );
}

#[tokio::test]
async fn a_signal_ends_the_load_and_the_account_follows() {
    let (local, _folder) = poll("2").await;
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let (child, admin) = endless(&local.url, &[("VOTERS", "4")]);
        has_cast(&admin, 20).await;
        signal.send(child.id().unwrap());
        let ended = Ended::of(child).await;
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        let ballots = ended.numbers("ballots")[0];
        assert!(ballots >= 20 && ended.numbers("  accepted") == [ballots], "{ended:#?}");
        assert!(ended.stderr.contains(" received, ending the load; the audit follows"), "{ended:#?}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_audit() {
    let (local, _folder) = poll("2").await;
    let proxy = Proxy::start(address(&local), Mode::Open).await;
    let url = format!("http://{}", proxy.address());
    let (mut child, admin) = endless(&url, &[("VOTERS", "4")]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    has_cast(&admin, 20).await;
    proxy.set(Mode::Silent);
    let pid = child.id().unwrap();
    Signal::Terminate.send(pid);
    while !stderr.next_line().await.unwrap().unwrap().contains("SIGTERM received, ending the load") {}
    Signal::Terminate.send(pid);
    let ended = Ended::of(child).await;
    assert_eq!((ended.code, ended.account.as_str()), (Some(3), ""), "{ended:#?}");
    let mut last = String::new();
    stderr.into_inner().read_to_string(&mut last).await.unwrap();
    assert_eq!(last, "voting-load: no account: SIGTERM received before the end of the audit\n");
}

#[tokio::test]
async fn a_signal_before_the_first_ballot_ends_the_load() {
    let nobody = ClosedPort::reserve();
    let mut child = load(&format!("http://{}", nobody.address()), &[]).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    while !stderr.next_line().await.unwrap().unwrap().contains("% with the feature flag") {}
    Signal::Terminate.send(child.id().unwrap());
    let ended = Ended::of(child).await;
    assert_eq!((ended.code, ended.account.as_str()), (Some(3), ""), "{ended:#?}");
    let mut last = String::new();
    stderr.into_inner().read_to_string(&mut last).await.unwrap();
    assert!(last.contains("no account: the load was ended before its first ballot\n"), "{last}");
}

#[tokio::test]
async fn results_that_contradict_themselves_are_not_blamed_on_the_store() {
    let store = Redis::database().await;
    let (url, faults) = (store.url(), ("FAULTS", "wrong-summary=50%"));
    let analytics = [("STORAGE_URL", url.as_str()), ("RELEASE", "1.1"), faults];
    let analytics = Service::start("voting-analytics", &analytics).await;
    let analytics_url = analytics.url("");
    let app = [("STORAGE_URL", url.as_str()), ("RELEASE", "1.0"), ("ANALYTICS_URL", analytics_url.as_str())];
    let app = Service::start("voting-app", &app).await;
    let ended = run(&app.url(""), &[("BALLOTS", "60"), ("VOTERS", "4")]).await;
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    for (line, number) in [("  accepted", 60), ("lost", 0), ("doubled", 0), ("stale reads", 0)] {
        assert_eq!(ended.numbers(line), [number], "{line}: {ended:#?}");
    }
    assert!(ended.numbers("error: results on the page that don't add up")[0] > 5, "{ended:#?}");
}

/// An open loop: slow answers delay no other ballot, as long as there are free voters.
#[tokio::test]
async fn a_rate_is_held_while_answers_are_slow() {
    let (local, _folder) = poll("2").await;
    let proxy = Proxy::start(address(&local), Mode::Distant(Duration::from_millis(100))).await;
    let url = format!("http://{}", proxy.address());
    let ended = run(&url, &[("RATE", "20"), ("DURATION", "4"), ("VOTERS", "40")]).await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let ballots = ended.numbers("ballots")[0];
    // A voter alone can cast ten. On a busy machine there are fewer than 80.
    assert!((20..=81).contains(&ballots), "{ended:#?}");
    let p50: f64 = ended.cells("latency p50, ms")[0].parse().unwrap();
    assert!(p50 >= 200.0, "{ended:#?}");

    // Ten seconds of work for a voter: the waiting is part of the latencies.
    let ended = run(&url, &[("RATE", "20"), ("DURATION", "4"), ("VOTERS", "1")]).await;
    assert!(ended.numbers("began late, as no voter was free")[0] > 0, "{ended:#?}");
    let max: f64 = ended.cells("latency max, ms")[0].parse().unwrap();
    assert!(max > 1000.0, "{ended:#?}");
}

#[tokio::test]
async fn the_load_has_metrics_by_release_and_a_health_check() {
    let (local, _folder) = poll("3").await;
    let (child, admin) = endless(&local.url, &[("VOTERS", "4"), ("FLAGGED", "50"), ("RATE", "40")]);
    has_cast(&admin, 30).await;
    eventually("both releases accept ballots", PATIENCE, async || {
        let metrics = admin.get("/metrics").await.text;
        ["1.0", "2.0"]
            .iter()
            .all(|release| metrics.contains(&format!("release=\"{release}\",outcome=\"accepted\"")))
    })
    .await;
    assert_eq!(admin.get("/livez").await.status, 200);
    let metrics = admin.get("/metrics").await;
    for release in ["1.0", "2.0"] {
        for metric in [
            format!(
                "voting_load_ballots_total{{component=\"voting-load\",release=\"{release}\",outcome=\"accepted\"}} "
            ),
            format!(
                "voting_load_vote_duration_seconds_bucket{{component=\"voting-load\",le=\"0.1\",release=\"{release}\"}} "
            ),
            format!("voting_load_reads_total{{component=\"voting-load\",release=\"{release}\"}} "),
            format!("voting_load_stale_reads_total{{component=\"voting-load\",release=\"{release}\"}} 0"),
        ] {
            assert!(metrics.text.contains(&metric), "{metric}: {}", metrics.text);
        }
    }
    assert!(metrics.text.ends_with("# EOF\n"));
    Signal::Terminate.send(child.id().unwrap());
    assert_eq!(Ended::of(child).await.code, Some(0));
}

#[tokio::test]
async fn failed_attempts_are_retried_with_the_same_ballot() {
    let store = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/votes.db", store.path().display());
    let mut analytics =
        Service::start("voting-analytics", &[("RELEASE", "2.0"), ("STORAGE_URL", &url)]).await;
    let settings = [("RELEASE", "2.0"), ("STORAGE_URL", &url), ("ANALYTICS_URL", &analytics.url(""))];
    let mut app = Service::start("voting-app", &settings).await;
    let (child, admin) = endless(&app.url(""), &[("VOTERS", "4")]);
    has_cast(&admin, 20).await;
    for service in [&mut app, &mut analytics] {
        service.signal(Signal::Kill);
        service.wait().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        service.restart().await;
    }
    has_cast(&admin, 60).await;
    Signal::Terminate.send(child.id().unwrap());
    let ended = Ended::of(child).await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(ended.numbers("  accepted"), ended.numbers("ballots"));
    assert!(ended.account.contains("\nerror: "), "{ended:#?}");
}

#[tokio::test]
async fn more_voters_than_open_files_are_an_invalid_setting() {
    let mut shell = clean("bash".as_ref());
    shell.args(["-c", "ulimit -n 200 && exec \"$0\" --poll-url http://127.0.0.1:1 --voters 2000"]);
    let ended = Ended::from(shell.arg(program("voting-load")).output().await.unwrap());
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{ended:#?}");
    let expected = "voting-load: VOTERS: \"2000\" is over the limit of open files; allowed: up to 1";
    assert!(ended.stderr.starts_with(expected), "{ended:#?}");
}

#[tokio::test]
async fn an_invalid_setting_is_one_line_and_has_an_exit_code_of_its_own() {
    for (setting, value, expected) in [
        ("POLL_URL", "", "POLL_URL: is missing; allowed: URL of the poll's page"),
        (
            "POLL_URL",
            "http://me:secret@poll.example",
            "POLL_URL: (not shown) has a user or a password; allowed: ",
        ),
        ("RATE", "fast", "RATE: \"fast\" is not allowed; allowed: a whole number from 1 to 100000"),
        ("FLAGGED", "101", "FLAGGED: \"101\" is not allowed; allowed: a whole number from 0 to 100"),
        ("ADMIN_PORT", "x", "ADMIN_PORT: \"x\" is not a port; allowed: "),
    ] {
        let ended = run("http://127.0.0.1:1", &[(setting, value)]).await;
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{ended:#?}");
        assert!(ended.stderr.starts_with(&format!("voting-load: {expected}")), "{ended:#?}");
        assert!(!ended.stderr.contains("secret") && ended.account.is_empty(), "{ended:#?}");
    }
}
