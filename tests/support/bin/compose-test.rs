//! A test of `docker compose up`: votes in every step, restarts of every container under load, and no lost vote.
//!
//! Requires the images (`cargo xtask images`). Starts a temporary project on a free port and removes it afterwards.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use voting_load::{Forms, Plan, Progress, Voting};
use voting_tests::compose::Compose;
use voting_tests::http::Visitor;

const FLAG: &str = "featureflag=on";
const PATH_1_0: &str = "app=1.0, analytics=1.0, storage=1.0";
const PATH_1_1: &str = "app=1.0, analytics=1.1, storage=1.0";
const PATH_2_0: &str = "app=2.0, analytics=2.0, storage=2.0";

/// Minimum number of ballots of a load with restarts.
const BALLOTS: u64 = 2000;
/// Time limit of the test, which takes two to four minutes.
const LIMIT: Duration = Duration::from_secs(20 * 60);

#[tokio::main]
async fn main() -> ExitCode {
    let mut compose = Compose::new();
    let test = Test { visitor: Visitor::new(compose.url()), start: Instant::now() };
    let done = tokio::time::timeout(LIMIT, test.run(&mut compose)).await;
    match done.unwrap_or_else(|_| Err(anyhow::anyhow!("timeout after {} s", LIMIT.as_secs()))) {
        Ok(()) => {
            test.say("passed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            for arguments in [["ps", "--all"].as_slice(), &["logs", "--no-color", "--tail", "50"]] {
                eprintln!("{}", compose.compose(arguments).await.unwrap_or_else(|error| error.to_string()));
            }
            eprintln!("compose-test: {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Test {
    visitor: Visitor,
    start: Instant,
}

impl Test {
    fn say(&self, what: &str) {
        println!("{:>4} s  {what}", self.start.elapsed().as_secs());
    }

    async fn run(&self, compose: &mut Compose) -> anyhow::Result<()> {
        self.go_to(compose, "1", &["analytics-1-0", "app-1-0"]).await?;
        for choice in ["Cats", "Cats", "Dogs", "Dogs", "Dogs", "Dogs"] {
            self.visitor.vote(choice).await;
        }
        self.sees(None, PATH_1_0, "Cats: 2 | Dogs: 4").await?;

        self.go_to(compose, "2", &["analytics-1-0", "analytics-1-1", "app-1-0"]).await?;
        self.sees_by_turns(&[PATH_1_0, PATH_1_1]).await?;
        self.go_to(compose, "2-locked", &["analytics-1-1", "app-1-0"]).await?;
        self.sees_by_turns(&[PATH_1_1]).await?;
        self.sees(None, PATH_1_1, "Cats: 2/6 (33%) | Dogs: 4/6 (67%)").await?;

        self.go_to(compose, "3", &["analytics-1-1", "analytics-2-0", "app-1-0", "app-2-0"]).await?;
        self.sees(Some(FLAG), PATH_2_0, "Cats: 0/0 (0%) | Dogs: 0/0 (0%)").await?;
        self.visitor.with_cookies("other=1; featureflag=on").vote("Cats").await;
        self.sees(Some(FLAG), PATH_2_0, "Cats: 1/1 (100%) | Dogs: 0/1 (0%)").await?;
        for cookies in [None, Some("featureflag=off"), Some("notfeatureflag=on"), Some("featureflag=once")] {
            self.sees(cookies, PATH_1_1, "Cats: 2/6 (33%) | Dogs: 4/6 (67%)").await?;
        }
        self.cookie_of_the_flag().await?;
        self.hardening(compose).await?;
        self.voters(compose).await?;
        self.restarts(compose, &["voting-storage-1-0", "voting-analytics-1-1", "voting-app-1-0", "gateway"])
            .await?;
        self.stop_and_start(compose).await?;

        let counts_1_0 = counts(&self.visitor.results().await)?;
        // The voters have voted there as well.
        let results_2_0 = self.visitor.with_cookies(FLAG).results().await;
        self.go_to(compose, "4", &["analytics-2-0", "app-2-0"]).await?;
        self.sees(None, PATH_2_0, &results_2_0).await?;
        let counts_2_0 = counts(&results_2_0)?;
        let both = [0, 1].map(|choice| counts_1_0[choice] + counts_2_0[choice]);
        for time in ["once", "twice"] {
            compose.compose(&["run", "--rm", "transfer"]).await?;
            ensure!(
                counts(&self.visitor.results().await)? == both,
                "after the transfer, {time}: not {both:?}"
            );
            self.say(&format!("transferred {time}: {both:?}, the votes of both stores"));
        }
        self.restarts(compose, &["voting-storage-2-0", "voting-analytics-2-0", "voting-app-2-0", "gateway"])
            .await?;
        self.stop_and_start(compose).await?;

        let counts_2_0 = counts(&self.visitor.results().await)?;
        compose.compose(&["run", "--rm", "transfer-back"]).await?;
        self.go_to(compose, "3", &["analytics-1-1", "analytics-2-0", "app-1-0", "app-2-0"]).await?;
        ensure!(
            counts(&self.visitor.results().await)? == counts_2_0,
            "the votes of 2.0 are missing after the way back"
        );
        self.say("the way back: release 1.0 has the votes of 2.0");

        compose.compose(&["down"]).await?;
        compose.go_to("4").await?;
        ensure!(counts(&self.visitor.results().await)? == counts_2_0, "votes were lost with the containers");
        self.say("down and up: all votes kept");
        compose
            .compose(&["--profile", "tools", "--profile", "load", "down", "--volumes", "--remove-orphans"])
            .await?;
        let left = compose.left().await?;
        ensure!(left.is_empty(), "not removed: {left}");
        self.say("down with volumes: everything removed");
        Ok(())
    }

    /// Switches to a step in which exactly these services run; their names lack the prefix `voting-`.
    async fn go_to(&self, compose: &mut Compose, step: &str, services: &[&str]) -> anyhow::Result<()> {
        let start = Instant::now();
        compose.go_to(step).await?;
        let mut expected: Vec<_> = services.iter().map(|service| format!("voting-{service}")).collect();
        expected.extend(["gateway".to_owned(), "voting-storage-1-0".to_owned()]);
        if services.contains(&"app-2-0") {
            expected.push("voting-storage-2-0".to_owned());
        }
        expected.sort();
        let running = compose.running().await?;
        ensure!(running == expected, "step {step}: running {running:?}, expected {expected:?}");
        self.say(&format!("step {step} up after {:.0} s", start.elapsed().as_secs_f32()));
        Ok(())
    }

    /// Checks five views of the page with these cookies.
    async fn sees(&self, cookies: Option<&str>, path: &str, results: &str) -> anyhow::Result<()> {
        let visitor =
            cookies.map_or_else(|| self.visitor.clone(), |cookies| self.visitor.with_cookies(cookies));
        for _ in 0..5 {
            let page = visitor.get("/").await;
            let seen = (page.header("x-voting-path").to_owned(), page.results());
            ensure!(seen == (path.to_owned(), results.to_owned()), "with the cookies {cookies:?}: {seen:?}");
        }
        self.say(&format!("cookies {}: {path}: {results}", cookies.unwrap_or("none")));
        Ok(())
    }

    /// Checks that twenty views have these paths, each at least once.
    async fn sees_by_turns(&self, paths: &[&str]) -> anyhow::Result<()> {
        let mut seen = BTreeSet::new();
        for _ in 0..20 {
            seen.insert(self.visitor.get("/").await.header("x-voting-path").to_owned());
        }
        let expected: BTreeSet<_> = paths.iter().map(ToString::to_string).collect();
        ensure!(seen == expected, "{seen:?}, not {expected:?}");
        self.say(&format!("alternating: {}", paths.join(" and ")));
        Ok(())
    }

    /// Checks the feature flag through the gateway: no `Secure` on plain HTTP, and no forged origin.
    async fn cookie_of_the_flag(&self) -> anyhow::Result<()> {
        let answer = self.visitor.post("/featureflag/set", "").await;
        let cookie = answer.header("set-cookie");
        ensure!(
            cookie.starts_with("featureflag=on;") && !cookie.contains("Secure"),
            "the cookie: {cookie:?}"
        );
        let forged =
            self.visitor.request("POST", "/").header("origin", "http://elsewhere.example").body("vote=Cats");
        let status = voting_tests::http::send(forged).await.status;
        ensure!(status == 403, "a vote from another site: {status}");
        Ok(())
    }

    /// Checks the privileges of the containers and the secrecy of the passwords.
    async fn hardening(&self, compose: &Compose) -> anyhow::Result<()> {
        let ids = compose.compose(&["ps", "--all", "--quiet"]).await?;
        let ids: Vec<_> = ids.lines().collect();
        let format = "--format={{.Name}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.Config.Image}}";
        let containers = compose.docker(&[&["inspect", format], ids.as_slice()].concat()).await?;
        for container in containers.lines() {
            ensure!(container.contains(" true [ALL] [no-new-privileges:true] "), "{container}");
        }
        for image in ["voting-app:2.0", "voting-analytics:2.0", "voting-storage:2.0", "voting-load:2.0"] {
            let user = compose.docker(&["inspect", "--format={{.Config.User}}", image]).await?;
            ensure!(user.trim() == "65532:65532", "{image} runs as {user}");
            let shell = ["run", "--rm", "--network=none", "--entrypoint=/bin/sh", image, "-c", ":"];
            let refused = compose.docker(&shell).await.err();
            let error = refused.with_context(|| format!("{image} has a shell"))?.to_string();
            ensure!(error.contains("no such file"), "{image}: {error}");
        }

        let mysql = |statement: String| async move {
            compose.compose(&["exec", "-T", "voting-storage-2-0", "bash", "-c", &statement]).await
        };
        let passwords =
            mysql("cat /run/password/voting; echo; cat /run/root-password/root".to_owned()).await?;
        let passwords: Vec<_> = passwords.lines().collect();
        ensure!(passwords.len() == 2 && passwords[0] != passwords[1], "the passwords are not different");
        ensure!(passwords.iter().all(|password| password.len() == 48), "a password is not 24 bytes long");
        let logs = compose.compose(&["logs", "--no-color"]).await?;
        let shown = compose.docker(&[&["inspect"], ids.as_slice()].concat()).await?;
        ensure!(
            passwords.iter().all(|password| !logs.contains(password) && !shown.contains(password)),
            "a password is in the logs or settings of a container"
        );
        let ask = |user: &str, file: &str, statement: &str| {
            mysql(format!(
                "MYSQL_PWD=$(cat {file}) mysql --host=127.0.0.1 --user={user} --execute='{statement}' 2>&1"
            ))
        };
        ask("voting", "/run/password/voting", "SELECT COUNT(*) FROM voting.ballots").await?;
        for (user, file, statement) in [
            ("voting", "/run/password/voting", "SELECT user FROM mysql.user"),
            ("root", "/run/password/voting", "SELECT 1"),
            ("root", "/run/root-password/root", "SELECT 1"),
        ] {
            let refused = ask(user, file, statement).await.err();
            let refused =
                refused.with_context(|| format!("{user} may: {statement}, with {file}"))?.to_string();
            ensure!(refused.contains("denied"), "{refused}");
        }
        self.say(&format!("{} containers are read-only and unprivileged; passwords are secret", ids.len()));
        Ok(())
    }

    /// Runs the voters of the profile, a part of them with the feature flag.
    async fn voters(&self, compose: &Compose) -> anyhow::Result<()> {
        let account = compose.compose(&["run", "--rm", "--env", "DURATION=10", "load"]).await?;
        // The image may be built first, which is printed too.
        let heading = account.lines().find(|line| line.starts_with("release of voting-app"));
        let releases = heading.map(|line| line.split_whitespace().rev().take(3).collect());
        ensure!(releases == Some(vec!["total", "2.0", "1.0"]), "no account by release: {account}");
        ensure!(account.ends_with("every promise held\n"), "{account}");
        self.say("voters in a container of their own: every promise held");
        Ok(())
    }

    /// Restarts these services one after the other under load, and kills the first one, the store.
    async fn restarts(&self, compose: &Compose, services: &[&str]) -> anyhow::Result<()> {
        let (progress, load) =
            Plan::until_stopped(compose.url(), Voting::Forms(Forms::default()), 16, Duration::from_millis(5))
                .start();
        let faults = async {
            for service in services {
                let (start, before) = (Instant::now(), progress.cast());
                compose.compose(&["restart", service]).await?;
                self.settle(&progress, before + 100).await?;
                self.say(&format!("{service} restarted under load, {:.0} s", start.elapsed().as_secs_f32()));
            }
            let before = progress.cast();
            compose.compose(&["kill", services[0]]).await?;
            compose.compose(&["start", services[0]]).await?;
            self.settle(&progress, (before + 100).max(BALLOTS)).await?;
            self.say(&format!("{} killed and restarted under load", services[0]));
            anyhow::Ok(())
        };
        let done = faults.await;
        progress.stop();
        let report = load.await?;
        done?;
        let report = report?;
        println!("{report}");
        ensure!(report.is_clean(), "votes were lost, doubled or stale: see the table");
        Ok(())
    }

    /// Waits for this number of ballots.
    async fn settle(&self, progress: &Progress, ballots: u64) -> anyhow::Result<()> {
        for _ in 0..600 {
            if progress.cast() >= ballots {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("only {} of {ballots} ballots cast within a minute", progress.cast())
    }

    async fn stop_and_start(&self, compose: &Compose) -> anyhow::Result<()> {
        let before = self.visitor.results().await;
        compose.compose(&["stop"]).await?;
        compose.compose(&["up", "--detach", "--wait", "--wait-timeout", "180"]).await?;
        let after = self.visitor.results().await;
        ensure!(before == after, "before the restart {before}, after it {after}");
        self.say(&format!("stopped and restarted: {after}"));
        Ok(())
    }
}

/// Parses a line such as `Cats: 2/6 (33%) | Dogs: 4/6 (67%)`.
fn counts(results: &str) -> anyhow::Result<[u64; 2]> {
    let counts = results.split('|').filter_map(|part| part.split([':', '/']).nth(1)?.trim().parse().ok());
    let counts: Vec<u64> = counts.collect();
    counts.try_into().map_err(|_| anyhow::anyhow!("no results: {results}"))
}
