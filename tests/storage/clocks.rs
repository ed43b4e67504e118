//! Wrong clocks, of a store and of a process that uses it.

use std::time::Duration;

use tempfile::TempDir;
use voting_core::{Ballot, Cast, Choice};
use voting_storage::Severity;
use voting_tests::clock::FakeClock;
use voting_tests::process::Service;
use voting_tests::servers::{MySql, Redis};
use voting_tests::store::{ballot, ballot_of_age, open_store};
use voting_tests::{PATIENCE, eventually, figure};

const HOUR: u64 = 60 * 60;

#[tokio::test]
async fn a_ballot_counts_once_whatever_the_clock_of_redis() {
    let clocks = [(26, 0), (2, 23 * HOUR + HOUR / 2), (-2, 0), (-26, 0), (24 * 365 * 10, 0)];
    for (hours, age) in clocks {
        let clock = FakeClock::ahead(hours * 3600);
        let redis = Redis::with_clock(&clock).await;
        let store = open_store(&redis.url());
        let vote = ballot_of_age(Choice::First, Duration::from_secs(age));
        assert_eq!(store.cast(vote).await.unwrap(), Cast::Counted, "{hours} h ahead");
        assert_eq!(store.cast(vote).await.unwrap(), Cast::AlreadyCounted, "{hours} h ahead");
        let findings = store.findings();
        let finding = findings.iter().find(|finding| finding.subject == "clock").unwrap();
        assert_eq!(finding.severity, Severity::Warning);
        let difference = if hours > 0 { "s ahead of the clock" } else { "s behind the clock" };
        assert!(finding.text.contains(difference), "{}", finding.text);
    }
    let clocks = clocks.len();
    figure(
        "a clock of Redis that is wrong by 2 hours to 10 years",
        format!("{clocks} of {clocks} ballots counted once"),
    );
}

#[tokio::test]
async fn a_clock_of_redis_that_jumps_forgets_no_ballot() {
    let clock = FakeClock::ahead(0);
    let redis = Redis::with_clock(&clock).await;
    let store = open_store(&redis.url());
    let (mut votes, mut repeats): (Vec<Ballot>, _) = (Vec::new(), 0);
    for jump in [0, 10, -10, 26 * 3600, -26 * 3600, 0] {
        clock.set(jump);
        for vote in &votes {
            assert_eq!(store.cast(*vote).await.unwrap(), Cast::AlreadyCounted, "after a jump to {jump} s");
            repeats += 1;
        }
        let vote = ballot(Choice::Second);
        assert_eq!(store.cast(vote).await.unwrap(), Cast::Counted, "after a jump to {jump} s");
        votes.push(vote);
    }
    let measured = format!("{} ballots counted once, {repeats} of {repeats} repeats recognized", votes.len());
    figure("a clock of Redis that jumps", measured);
}

/// A process with a wrong clock, and a store in which a ballot was counted today, another one 26 hours ago.
struct Purge {
    url: String,
    today: Ballot,
    old: Ballot,
    _server: Box<dyn std::any::Any + Send>,
}

impl Purge {
    async fn in_store(url: String, server: impl Send + 'static) -> Self {
        let store = open_store(&url);
        let old = ballot_of_age(Choice::First, Duration::from_secs(26 * HOUR));
        let today = ballot(Choice::First);
        for vote in [old, today] {
            assert_eq!(store.cast(vote).await.unwrap(), Cast::Counted);
        }
        Self { url, today, old, _server: Box::new(server) }
    }

    async fn all() -> Vec<Self> {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}/votes.db", folder.path().display());
        let (mysql, redis) = (MySql::database().await, Redis::database().await);
        vec![
            Self::in_store(url, folder).await,
            Self::in_store(mysql.url(), mysql).await,
            Self::in_store(redis.url(), redis).await,
        ]
    }

    /// Starts a process that uses the store. It purges every 10 minutes, of which its timers make 10 seconds.
    async fn start_process(&self, clock: &FakeClock) -> Service {
        let mut settings = clock.variables();
        let release = if self.url.starts_with("mysql:") { "2.0" } else { "1.0" };
        settings.push(("STORAGE_URL".to_owned(), self.url.clone()));
        settings.push(("RELEASE".to_owned(), release.to_owned()));
        let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Service::start("voting-app", &settings).await
    }
}

const SPEED: u32 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_are_purged_after_their_retention_and_such_old_ballots_no_longer_count() {
    let clock = FakeClock::fast(0, SPEED);
    for purge in Purge::all().await {
        let process = purge.start_process(&clock).await;
        let store = open_store(&purge.url);
        // A purge also has a fraction of its time, and the next one comes after ten seconds.
        eventually("the old id is purged", PATIENCE * 10, async || {
            // Timers on which a runtime waits elapse at the machine's speed; a request makes it look at its clock.
            let _ = reqwest::get(process.admin_url("/livez")).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            store.cast(purge.old).await.unwrap() == Cast::Expired
        })
        .await;
        assert_eq!(store.cast(purge.today).await.unwrap(), Cast::AlreadyCounted);
        let older = ballot_of_age(Choice::First, Duration::from_secs(27 * HOUR));
        assert_eq!(store.cast(older).await.unwrap(), Cast::Expired);
        let newer = ballot_of_age(Choice::First, Duration::from_secs(25 * HOUR));
        assert_eq!(store.cast(newer).await.unwrap(), Cast::Counted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_clock_is_ahead_purges_no_id_of_today() {
    let clock = FakeClock::fast(26 * 3600, SPEED);
    for purge in Purge::all().await {
        let process = purge.start_process(&clock).await;
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_secs(15) {
            let _ = reqwest::get(process.admin_url("/livez")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let store = open_store(&purge.url);
        assert_eq!(store.cast(purge.today).await.unwrap(), Cast::AlreadyCounted, "{}", purge.url);
    }
    figure("a process whose clock is 26 hours ahead", "1 of 1 ballots of today known in each of 3 stores");
}
