//! voting-local (`cargo run`): the steps of the tutorial in one process.

mod split;

use std::collections::HashSet;
use std::time::Instant;

use tempfile::TempDir;
use voting_tests::http::{Visitor, send};
use voting_tests::process::{Local, Signal, clean, program, run};
use voting_tests::{PATIENCE, eventually, figure};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn the_banner_names_the_url_and_the_feature_flag() {
    let data = folder();
    let local = Local::start(data.path(), &[]).await;
    assert!(
        local.banner.contains("http://localhost:") && local.banner.contains("feature flag"),
        "{}",
        local.banner
    );
    assert_eq!(Visitor::new(&local.url).get("/").await.status, 200);
    assert!(local.end(Signal::Interrupt).await.success());
}

#[tokio::test]
async fn the_flag_moves_the_browser_between_two_tallies() {
    let data = folder();
    let local = Local::start(data.path(), &[]).await;
    let everybody = Visitor::new(&local.url);
    let flagged = everybody.with_cookies("featureflag=on");
    everybody.vote("Cats").await;
    everybody.vote("Dogs").await;
    flagged.vote("Dogs").await;

    let page = everybody.get_served("/").await;
    assert_eq!(page.results(), "Cats: 1/2 (50%) | Dogs: 1/2 (50%)");
    assert_eq!(page.header("x-voting-path"), "app=1.0, analytics=1.1, storage=1.0");
    assert!(page.element("footer").unwrap().contains("voting-storage 1.0"));

    let page = flagged.get_served("/").await;
    assert_eq!(page.results(), "Cats: 0/1 (0%) | Dogs: 1/1 (100%)");
    assert_eq!(page.header("x-voting-path"), "app=2.0, analytics=2.0, storage=2.0");
    assert!(page.element("footer").unwrap().contains("voting-storage 2.0"));

    flagged.vote("reset").await;
    assert_eq!(flagged.results().await, "Cats: 0/0 (0%) | Dogs: 0/0 (0%)");
    assert_eq!(everybody.results().await, "Cats: 1/2 (50%) | Dogs: 1/2 (50%)");
}

#[tokio::test]
async fn each_step_shows_what_the_tutorial_shows() {
    let data = folder();
    let summaries = async |arguments: &[&str]| {
        let local = Local::start(data.path(), arguments).await;
        let visitor = Visitor::new(&local.url);
        let (mut seen, start) = (Vec::new(), Instant::now());
        while seen.len() < 6 {
            assert!(start.elapsed() < PATIENCE, "no results: {seen:?}");
            let results = visitor.get("/").await.results();
            // A late answer took its turn as well.
            if results.contains("unavailable") { seen.clear() } else { seen.push(results) }
        }
        (
            seen,
            visitor.with_cookies("featureflag=on").get_served("/").await.header("x-voting-path").to_owned(),
        )
    };
    {
        let local = Local::start(data.path(), &["--step", "1"]).await;
        let visitor = Visitor::new(&local.url);
        for choice in ["Cats", "Dogs", "Dogs", "Cats", "Dogs", "Dogs"] {
            visitor.vote(choice).await;
        }
        local.end(Signal::Terminate).await;
    }
    let (counts, percentages) = ("Cats: 2 | Dogs: 4", "Cats: 2/6 (33%) | Dogs: 4/6 (67%)");
    let (seen, path) = summaries(&["--step", "1"]).await;
    assert_eq!((seen, path.as_str()), (vec![counts.to_owned(); 6], "app=1.0, analytics=1.0, storage=1.0"));

    let (seen, _) = summaries(&["--step", "2"]).await;
    assert_eq!(
        HashSet::<_>::from_iter(seen.iter().map(String::as_str)),
        HashSet::from([counts, percentages])
    );
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "they do not take turns: {seen:?}");

    let (seen, path) = summaries(&["--step", "2", "--locked"]).await;
    assert_eq!(
        (seen, path.as_str()),
        (vec![percentages.to_owned(); 6], "app=1.0, analytics=1.1, storage=1.0")
    );

    let (seen, path) = summaries(&["--step", "3"]).await;
    assert_eq!(
        (seen, path.as_str()),
        (vec![percentages.to_owned(); 6], "app=2.0, analytics=2.0, storage=2.0")
    );

    // Step 4 transfers the votes of 1.0. Repeating it changes nothing.
    for _ in 0..2 {
        let (seen, path) = summaries(&["--step", "4"]).await;
        assert_eq!(
            (seen, path.as_str()),
            (vec![percentages.to_owned(); 6], "app=2.0, analytics=2.0, storage=2.0")
        );
    }
}

#[tokio::test]
async fn votes_survive_a_restart_and_a_kill() {
    let data = folder();
    for (before, signal) in [(0, Signal::Terminate), (5, Signal::Kill), (10, Signal::Kill)] {
        let local = Local::start(data.path(), &[]).await;
        let visitor = Visitor::new(&local.url);
        assert!(visitor.results().await.starts_with(&format!("Cats: {before}/")));
        for _ in 0..5 {
            visitor.vote("Cats").await;
        }
        local.end(signal).await;
    }
    let local = Local::start(data.path(), &[]).await;
    assert_eq!(Visitor::new(&local.url).results().await, "Cats: 15/15 (100%) | Dogs: 0/15 (0%)");
    figure("SIGTERM, then two times SIGKILL", "15 of 15 votes are there");
}

#[tokio::test]
async fn invalid_settings_are_one_line_errors() {
    let data = folder();
    let directory = data.path().join("votes");
    let directory = directory.to_str().unwrap();
    let in_use = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = in_use.local_addr().unwrap().port().to_string();
    // Not even root can use a file as a directory.
    let file = data.path().join("file");
    std::fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    for (arguments, part) in [
        (vec!["--data-dir", directory, "--port", &port], format!("port {port} is in use")),
        (vec!["--data-dir", file, "--port", "0"], format!("DATA_DIR: {file:?} can't be used (")),
        (
            vec!["--data-dir", "/proc/votes", "--port", "0"],
            "DATA_DIR: \"/proc/votes\" can't be used".to_owned(),
        ),
        (
            vec!["--data-dir", directory, "--step", "5"],
            "STEP: \"5\" is not allowed; allowed: a whole number from 1 to 4".to_owned(),
        ),
        (
            vec!["--data-dir", directory, "--allowed-hosts", "a.test,http://b.test"],
            "ALLOWED_HOSTS: \"http://b.test\" is not the name of a host; allowed: names without a port"
                .to_owned(),
        ),
        (
            vec!["--data-dir", directory, "--step", "3", "--locked"],
            "STEP: \"3\" conflicts with --locked; allowed: 2".to_owned(),
        ),
        (
            vec!["--data-dir", directory, "--vote1value", "Dogs"],
            "VOTE2VALUE: \"Dogs\" equals VOTE1VALUE".to_owned(),
        ),
    ] {
        let ended = run("voting-local", &arguments, &[]).await;
        assert!(!ended.success, "{arguments:?}");
        assert!(
            ended.stderr.starts_with("voting-local: ") && ended.stderr.contains(&part),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_data_directory_may_have_any_name() {
    let data = folder();
    let odd = data.path().join("100% of #votes? yes");
    let local = Local::start(&odd, &[]).await;
    Visitor::new(&local.url).vote("Cats").await;
    assert!(odd.join("voting-storage-1.0.db").is_file());
}

/// The ports of this machine on which a process listens.
fn listening_ports(pid: u32) -> HashSet<u16> {
    let sockets: HashSet<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/net/{table}")).unwrap());
    let fields = tables.iter().flat_map(|table| table.lines()).map(|line| line.split_whitespace().collect());
    fields
        // The state 0A is LISTEN; the tenth field is the socket.
        .filter(|fields: &Vec<_>| fields.get(3) == Some(&"0A") && sockets.contains(fields[9]))
        .map(|fields| u16::from_str_radix(fields[1].rsplit(':').next().unwrap(), 16).unwrap())
        .collect()
}

#[tokio::test]
async fn a_name_that_another_site_points_at_this_machine_is_rejected() {
    let data = folder();
    let local = Local::start(data.path(), &["--allowed-hosts", "poll.test,other.test"]).await;
    let ports = listening_ports(local.pid());
    // The page, and the analytics of both releases.
    assert_eq!(ports.len(), 3, "{ports:?}");
    for port in ports {
        let visitor = Visitor::new(format!("http://127.0.0.1:{port}"));
        let foreign = format!("evil.example:{port}");
        for path in ["/", "/events", "/analytics", "/featureflag/set", "/split", "/split/load", "/nothing"] {
            for method in ["GET", "POST"] {
                // What a browser sends for a page of that site.
                let request = visitor.request(method, path).header("host", &foreign);
                let request = request.header("origin", format!("http://{foreign}"));
                let request = request.header("sec-fetch-site", "same-origin");
                let form = "application/x-www-form-urlencoded";
                let answer = send(request.header("content-type", form).body("vote=Cats")).await;
                assert_eq!(answer.status, 421, "{method} {path} at {port}: {}", answer.text);
                assert!(
                    answer.text.contains(&foreign) && answer.text.contains("ALLOWED_HOSTS"),
                    "{}",
                    answer.text
                );
            }
        }
    }
    // Browsers may take localhost for either address.
    let other = Visitor::new(local.url.replace("localhost", "[::1]"));
    assert_eq!(other.get("/").await.status, 200);
    let visitor = Visitor::new(&local.url);
    assert_eq!(visitor.results().await, "Cats: 0/0 (0%) | Dogs: 0/0 (0%)");
    for host in ["localhost", "127.0.0.1:1", "[::1]:8080", "poll.test", "Other.Test:8080"] {
        let answer = send(visitor.request("GET", "/").header("host", host)).await;
        assert_eq!(answer.status, 200, "{host}");
    }
}

#[tokio::test]
async fn votes_of_choices_with_other_names_are_logged_at_the_start() {
    let data = folder();
    let local = Local::start(data.path(), &["--step", "1"]).await;
    Visitor::new(&local.url).vote("Cats").await;
    local.end(Signal::Terminate).await;
    let log = data.path().join("log");
    let mut command = clean(&program("voting-local"));
    command.arg("--data-dir").arg(data.path()).args(["--port", "0", "--step", "1", "--vote1value", "Birds"]);
    let _local = command.stdout(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    eventually("the votes are reported", PATIENCE, async || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains("the store has votes of other choices") && log.contains("\"Cats\" 1")
    })
    .await;
}
