//! Bad releases: programs that inject the faults of the setting `FAULTS`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use voting_core::{BallotId, Choice};
use voting_faults::{Component, Fault};
use voting_tests::http::{Visitor, send, served};
use voting_tests::process::{Service, run};
use voting_tests::servers::Redis;
use voting_tests::store::open_store;
use voting_tests::{ClosedPort, PATIENCE, eventually};

/// A program with faults on a store of its own.
struct BadRelease {
    service: Service,
    visitor: Visitor,
    redis: Redis,
}

impl BadRelease {
    async fn start(program: &str, faults: &str) -> Self {
        Self::start_with(program, &[("FAULTS", faults)]).await
    }

    async fn start_with(program: &str, settings: &[(&str, &str)]) -> Self {
        let redis = Redis::database().await;
        let url = redis.url();
        let common = [("STORAGE_URL", url.as_str()), ("RELEASE", "1.0")];
        let service = Service::start(program, &[&common, settings].concat()).await;
        Self { visitor: Visitor::new(service.url("")), service, redis }
    }

    async fn status(&self, path: &str) -> u16 {
        self.visitor.get(path).await.status
    }

    async fn statuses(&self, path: &str, requests: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..requests {
            statuses.push(self.status(path).await);
        }
        statuses
    }

    async fn admin(&self, path: &str) -> (u16, String) {
        let answer = Visitor::new(self.service.admin_url("")).get_served(path).await;
        (answer.status, answer.text)
    }

    /// The number of injected faults of each kind.
    async fn injected(&self) -> BTreeMap<String, usize> {
        let (_, metrics) = self.admin("/metrics").await;
        let counters = metrics.lines().filter(|line| line.starts_with("voting_faults_injected_total{"));
        let counter = |line: &str| {
            let (labels, number) = line.rsplit_once(' ').unwrap();
            let fault = labels.split("fault=\"").nth(1).unwrap().split('"').next().unwrap();
            (fault.to_owned(), number.parse().unwrap())
        };
        counters.map(counter).collect()
    }
}

#[tokio::test]
async fn a_share_of_requests_fails_and_the_run_repeats_with_its_seed() {
    for (program, path) in [("voting-app", "/featureflag/none"), ("voting-analytics", "/none")] {
        let run = async |faults: &str| {
            let release = BadRelease::start(program, faults).await;
            let statuses = release.statuses(path, 300).await;
            let failed = statuses.iter().filter(|status| **status == 500).count();
            assert_eq!(release.injected().await["error"], failed);
            let (_, metrics) = release.admin("/metrics").await;
            assert!(
                metrics.contains("status=\"500\"")
                    && statuses.iter().all(|status| [404, 405, 500].contains(status))
            );
            (statuses, failed)
        };
        let (statuses, failed) = run("error=10%,seed=42").await;
        assert!((15..50).contains(&failed), "{program}: {failed} of 300");
        assert_eq!(run("error=10%,seed=42").await.0, statuses, "{program}");
        assert_ne!(run("error=10%,seed=43").await.0, statuses, "{program}");
    }
}

#[tokio::test]
async fn acknowledged_votes_are_lost_and_counted_twice_at_their_rates() {
    const BALLOTS: u64 = 300;
    let run = async || {
        let release = BadRelease::start("voting-app", "lose=10%,double=20%,seed=42").await;
        for _ in 0..BALLOTS {
            let ballot = format!("vote=Dogs&ballot={}", BallotId::new());
            let answer = release.visitor.post("/", ballot).await;
            assert_eq!((answer.status, answer.header("x-vote-outcome")), (303, "counted"), "{}", answer.text);
        }
        let tally = open_store(&release.redis.url()).tally().await.unwrap();
        let injected = release.injected().await;
        let (lost, doubled) = (injected["lose"] as u64, injected["double"] as u64);
        assert_eq!(tally[Choice::Second], BALLOTS - lost + doubled);
        assert_eq!(tally[Choice::First], 0);
        let (_, metrics) = release.admin("/metrics").await;
        let acknowledged = "voting_votes_total{component=\"voting-app\",release=\"1.0\",choice=\"Dogs\",outcome=\"counted\"} 300";
        assert!(metrics.contains(acknowledged), "{metrics}");
        (lost, doubled)
    };
    let (lost, doubled) = run().await;
    assert!((15..50).contains(&lost), "{lost} of {BALLOTS} lost");
    assert!((35..75).contains(&doubled), "{doubled} of {BALLOTS} counted twice");
    assert_eq!(run().await, (lost, doubled));
}

#[tokio::test]
async fn a_lost_ballot_is_in_no_store_and_a_doubled_one_still_counts_once_when_it_is_sent_again() {
    let lossy = BadRelease::start("voting-app", "lose=100%").await;
    lossy.visitor.vote("Cats").await;
    assert_eq!(open_store(&lossy.redis.url()).tally().await.unwrap().total(), 0);
    let doubling = BadRelease::start("voting-app", "double=100%").await;
    let form = format!("vote=Cats&ballot={}", BallotId::new());
    for outcome in ["counted", "already-counted"] {
        assert_eq!(doubling.visitor.post("/", &form).await.header("x-vote-outcome"), outcome);
    }
    assert_eq!(open_store(&doubling.redis.url()).tally().await.unwrap()[Choice::First], 2);
    assert_eq!(doubling.injected().await["double"], 1);
}

/// Or an audit that sends each ballot again would find more lost votes than there are.
#[tokio::test]
async fn a_counted_ballot_that_is_sent_again_is_not_drawn_again() {
    let release = BadRelease::start("voting-app", "lose=50%,seed=3").await;
    for _ in 0..10 {
        let form = format!("vote=Cats&ballot={}", BallotId::new());
        let lost = release.injected().await["lose"];
        release.visitor.post("/", &form).await;
        if release.injected().await["lose"] > lost {
            continue;
        }
        for _ in 0..5 {
            assert_eq!(release.visitor.post("/", &form).await.header("x-vote-outcome"), "already-counted");
        }
    }
}

#[tokio::test]
async fn requests_take_longer_and_a_share_of_them_much_longer() {
    let release = BadRelease::start("voting-analytics", "latency=50ms,tail=20%:400ms,seed=1").await;
    let mut slow = 0;
    for _ in 0..40 {
        let start = Instant::now();
        release.status("/analytics").await;
        let elapsed = start.elapsed();
        assert!(elapsed >= Duration::from_millis(50), "{elapsed:?}");
        slow += usize::from(elapsed >= Duration::from_millis(450));
    }
    let injected = release.injected().await;
    assert_eq!(injected["latency"], 40);
    // A busy machine makes others slow too.
    assert!(
        (2..20).contains(&injected["tail"]) && injected["tail"] <= slow,
        "{injected:?}, {slow} were slow"
    );
}

#[tokio::test]
async fn a_slow_start_is_not_ready_for_its_time() {
    for (program, path) in [("voting-app", "/"), ("voting-analytics", "/analytics")] {
        let release = BadRelease::start(program, "slow-start=3600s").await;
        let (status, text) = release.admin("/readyz").await;
        assert!(status == 503 && text.contains("[-]start failed") && text.contains("[+]store ok"), "{text}");
        assert_eq!((release.status(path).await, release.admin("/livez").await.0), (503, 200));
        assert!(release.injected().await["slow-start"] == 1);
        let ports =
            [release.service.address, release.service.admin].map(|address| address.port().to_string());
        let settings = [("LISTEN_ADDRESS", "127.0.0.1"), ("PORT", &ports[0]), ("ADMIN_PORT", &ports[1])];
        assert!(!run(program, &["check"], &settings).await.success);

        let release = BadRelease::start(program, "slow-start=1s").await;
        eventually("it is ready", PATIENCE, async || release.admin("/readyz").await.0 == 200).await;
        assert_eq!(release.status(path).await, 200);
    }
}

#[tokio::test]
async fn a_lying_probe_says_ready_although_the_service_or_its_store_is_not() {
    for program in ["voting-app", "voting-analytics"] {
        let release = BadRelease::start(program, "slow-start=3600s,lying-readyz").await;
        let (status, text) = release.admin("/readyz").await;
        assert!(status == 200 && text.contains("[+]start ok"), "{text}");
        assert_eq!(release.status("/").await, 503);
        assert_eq!(release.injected().await["lying-readyz"], 1);

        let down = ClosedPort::reserve();
        let store = format!("redis://{}", down.address());
        let settings = [("FAULTS", "lying-readyz,failing-livez"), ("STORAGE_URL", &store)];
        let release = BadRelease::start_with(program, &settings).await;
        let (status, text) = release.admin("/readyz").await;
        assert!(status == 200 && text.contains("[+]store ok"), "{text}");
        assert_eq!(release.admin("/livez").await, (503, "injected fault\n".to_owned()));
    }
}

#[tokio::test]
async fn the_process_crashes_after_its_number_of_requests_and_again_after_a_restart() {
    for program in ["voting-app", "voting-analytics"] {
        let mut release = BadRelease::start(program, "crash-after=5").await;
        for _ in 0..2 {
            assert!(release.statuses("/none", 5).await.iter().all(|status| *status == 404));
            for path in ["/readyz", "/livez", "/metrics"] {
                assert_eq!(release.admin(path).await.0, 200);
            }
            assert!(release.visitor.request("GET", "/none").send().await.is_err());
            assert!(!release.service.wait().await.success());
            release.service.restart().await;
        }
    }
}

/// The memory that a process uses, in KiB.
fn memory(service: &Service) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_request_leaves_memory_behind() {
    for program in ["voting-app", "voting-analytics"] {
        let release = BadRelease::start(program, "leak=256KiB").await;
        release.statuses("/none", 4).await;
        let before = memory(&release.service);
        let leaked = release.injected().await["leak"];
        eventually("32 more requests leave memory behind", PATIENCE, async || {
            release.status("/none").await;
            release.injected().await["leak"] >= leaked + 32
        })
        .await;
        let growth = memory(&release.service).saturating_sub(before);
        assert!(growth >= 7 * 1024, "{program}: {growth} KiB");
    }
}

#[tokio::test]
async fn a_share_of_summaries_does_not_add_up() {
    let run = async || {
        let settings = [("FAULTS", "wrong-summary=20%,seed=5"), ("RELEASE", "1.1")];
        let release = BadRelease::start_with("voting-analytics", &settings).await;
        release.redis.query::<()>("MSET", &["Cats", "2", "Dogs", "4"]).await;
        let mut wrong = Vec::new();
        for _ in 0..100 {
            let summary: Value =
                serde_json::from_str(&release.visitor.get_served("/analytics").await.text).unwrap();
            assert_eq!(summary["text"], "Cats: 2/6 (33%) | Dogs: 4/6 (67%)");
            let count = |category: &str| summary[category]["count"].as_u64().unwrap();
            wrong.push(count("category1") + count("category2") != 6);
        }
        let number = wrong.iter().filter(|wrong| **wrong).count();
        assert_eq!(release.injected().await["wrong-summary"], number);
        assert!((8..35).contains(&number), "{number} of 100");
        wrong
    };
    assert_eq!(run().await, run().await);
}

#[tokio::test]
async fn a_bad_release_shows_its_faults_in_footer_header_metrics_and_log() {
    let redis = Redis::database().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let (store, of_app, of_analytics) = (redis.url(), "latency=1ms,double=1%,seed=9", "wrong-summary=0.5%");
    let common = [("STORAGE_URL", store.as_str()), ("RELEASE", "1.0")];
    let settings = [&common[..], &[("FAULTS", of_analytics)]].concat();
    let analytics = Service::start("voting-analytics", &settings).await;
    let url = analytics.url("");
    let settings = [&common[..], &[("FAULTS", of_app), ("ANALYTICS_URL", &url)]].concat();
    let app = Service::start_logged("voting-app", &settings, Some(&log)).await;
    let visitor = Visitor::new(app.url(""));

    let page = visitor.get_served("/").await;
    let footer = page.element("footer").unwrap();
    assert!(footer.contains("voting-app injects the faults latency=1ms,double=1%,seed=9"), "{footer}");
    assert!(footer.contains("voting-analytics injects the faults wrong-summary"), "{footer}");
    assert_eq!(page.results(), "Cats: 0 | Dogs: 0");
    let path =
        "app=1.0, analytics=1.0, storage=1.0, analytics-faults=wrong-summary, app-faults=latency.double";
    assert_eq!(page.header("x-voting-path"), path);
    let missing = visitor.get("/none").await;
    assert!(missing.element("footer").unwrap().contains("voting-app injects the faults"), "{}", missing.text);
    assert_eq!(missing.header("x-voting-path"), "app=1.0, storage=1.0, app-faults=latency.double");
    let summary = Visitor::new(analytics.url("")).get("/analytics").await;
    assert_eq!(summary.header("x-voting-path"), "analytics=1.0, storage=1.0, analytics-faults=wrong-summary");

    for (service, component, faults) in
        [(&app, "voting-app", of_app), (&analytics, "voting-analytics", of_analytics)]
    {
        let metrics = Visitor::new(service.admin_url("")).get("/metrics").await.text;
        let info =
            format!("voting_faults_info{{component=\"{component}\",release=\"1.0\",faults=\"{faults}\"}} 1");
        assert!(metrics.contains(&info), "{metrics}");
    }
    eventually("one warning names the faults", PATIENCE, async || {
        let log = std::fs::read_to_string(&log).unwrap();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("bad release")).collect();
        lines.len() == 1 && lines[0].to_lowercase().contains("warn") && lines[0].contains(of_app)
    })
    .await;
}

#[tokio::test]
async fn an_injected_error_is_a_page_or_json_that_says_so() {
    let app = BadRelease::start("voting-app", "error=100%").await;
    let page = app.visitor.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (500, "text/html; charset=utf-8"));
    assert!(
        page.text.contains("fails on purpose") && page.text.contains("injects the faults error=100%"),
        "{}",
        page.text
    );
    let vote = app.visitor.post("/", "vote=Cats").await;
    assert_eq!((vote.status, vote.header("x-voting-path")), (500, "app=1.0, storage=1.0, app-faults=error"));
    assert_eq!(open_store(&app.redis.url()).tally().await.unwrap().total(), 0);
    let analytics = BadRelease::start("voting-analytics", "error=100%").await;
    let answer = analytics.visitor.get("/analytics").await;
    assert_eq!((answer.status, answer.header("content-type")), (500, "application/json"));
    assert!(answer.text.contains("injected fault: error"), "{}", answer.text);
    for release in [app, analytics] {
        for path in ["/livez", "/readyz", "/metrics", "/openapi.json"] {
            assert_eq!(release.admin(path).await.0, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn no_visitor_can_have_a_release_inject_a_fault() {
    for (program, path, header) in [
        ("voting-app", "/", "app=1.0, storage=1.0"),
        ("voting-analytics", "/analytics", "analytics=1.0, storage=1.0"),
    ] {
        let release = BadRelease::start_with(program, &[]).await;
        let faults = "error=100%,lying-readyz,failing-livez";
        for _ in 0..20 {
            let answer = served(async || {
                let request = release
                    .visitor
                    .request("GET", &format!("{path}?FAULTS=error=100%25&faults=error=100%25"));
                let request = ["faults", "x-faults", "x-voting-faults"]
                    .into_iter()
                    .fold(request, |request, name| request.header(name, faults));
                send(request.header("cookie", "FAULTS=error=100%; faults=error=100%")).await
            })
            .await;
            assert_eq!((answer.status, answer.header("x-voting-path")), (200, header));
            assert!(!answer.text.contains("fault"), "{}", answer.text);
        }
        let (_, metrics) = release.admin("/metrics").await;
        assert!(!metrics.contains("voting_faults"), "{metrics}");
        assert_eq!(release.admin("/livez?faults=failing-livez").await.0, 200);
    }
}

#[tokio::test]
async fn a_fault_that_a_program_can_t_have_is_rejected_with_those_that_it_can() {
    for (program, fault, allowed) in [
        ("voting-app", "wrong-summary=1%", "failing-livez,lose=RATE,double=RATE,seed=NUMBER"),
        ("voting-analytics", "lose=1%", "failing-livez,wrong-summary=RATE,seed=NUMBER"),
        ("voting-analytics", "double=1%", "failing-livez,wrong-summary=RATE,seed=NUMBER"),
    ] {
        let ended = run(program, &["--faults", fault], &[]).await;
        let name = fault.split('=').next().unwrap();
        let start = format!(
            "{program}: FAULTS: {fault:?} names the fault {name:?}, which {program} can't have; allowed: error=RATE,"
        );
        assert!(!ended.success && ended.stderr.starts_with(&start), "{}", ended.stderr);
        assert!(
            ended.stderr.trim_end().ends_with(allowed) && ended.stderr.lines().count() == 1,
            "{}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn the_help_and_the_documentation_list_every_fault_of_a_program() {
    let page = include_str!("../../docs/rehearsals.md");
    for (program, component, column) in
        [("voting-app", Component::App, "app"), ("voting-analytics", Component::Analytics, "analytics")]
    {
        let help = run(program, &["--help"], &[]).await.stdout;
        let words: Vec<_> = help.split([' ', '\n']).map(|word| word.trim_end_matches(',')).collect();
        for fault in Fault::ALL {
            assert_eq!(words.contains(&fault.item()), fault.is_of(component), "{program} {fault:?}");
            let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", fault.item())));
            let of = row.unwrap_or_else(|| panic!("no row of {fault:?}")).split(" | ").nth(2).unwrap();
            assert_eq!(of == "both" || of == column, fault.is_of(component), "{fault:?}: {of}");
        }
    }
}
