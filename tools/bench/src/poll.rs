//! A poll of many ballots, cast through the app: rate, memory, disk, pages and the operator's commands while it grows, and the
//! purge of expired ids.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use voting_core::{Ballot, Cast, Choice};
use voting_storage::VoteStore;
use voting_tests::clock::FakeClock;
use voting_tests::deployment::Deployment;
use voting_tests::process::{Service, run};
use voting_tests::servers::{MySql, OwnServer, Redis};
use voting_tests::store::{ballot_of_age, open_store};

use crate::ids;
use crate::load::{Measured, Scenario};
use crate::report::machine;
use crate::target::{load, resident};

/// Connections of the voters.
const CONNECTIONS: usize = 256;

/// A purge begins 10 minutes after the start of its process. Of these, the timers of the process measured here skip nine and a
/// half: they run this many times as fast in these first seconds. Later ones limit the purge as usual.
const FAST: (u32, u32) = (20, 29);

/// Measured time without the purge, and the least with it.
const WINDOW: Duration = Duration::from_secs(10);

/// The age of the youngest expired ballots. Others are up to [`SPREAD`] seconds older.
const EXPIRED: Duration = Duration::from_secs(26 * 60 * 60);
const SPREAD: u64 = 60 * 60;

/// The stores of a poll.
enum Server {
    Redis(Redis),
    MySql(MySql),
}

impl Server {
    fn name(&self) -> &'static str {
        match self {
            Self::Redis(_) => "Redis",
            Self::MySql(_) => "MariaDB",
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Redis(redis) => redis.url(),
            Self::MySql(mysql) => mysql.url(),
        }
    }

    /// The releases of voting-app and voting-analytics that use it.
    fn releases(&self) -> [&'static str; 2] {
        match self {
            Self::Redis(_) => ["1.0", "1.1"],
            Self::MySql(_) => ["2.0", "2.0"],
        }
    }

    fn process(&mut self) -> &mut OwnServer {
        match self {
            Self::Redis(redis) => redis.server(),
            Self::MySql(mysql) => mysql.server(),
        }
    }

    /// An empty store of the same kind.
    async fn another(&self) -> Self {
        match self {
            Self::Redis(_) => Self::Redis(Redis::own().await),
            Self::MySql(_) => Self::MySql(MySql::own().await),
        }
    }

    /// Whether ids are left that are as old as this ballot's.
    async fn has_ids_as_old_as(&self, ballot: Ballot) -> anyhow::Result<bool> {
        let id = ballot.id.to_string().replace('-', "");
        Ok(match self {
            Self::Redis(redis) => {
                let minute = (ballot.id.created_at().as_secs() / 60).to_string();
                redis.query::<u64>("ZCOUNT", &["voting:{Cats}:minutes", "-inf", &minute]).await > 0
            }
            Self::MySql(mysql) => {
                let query = format!("SELECT 1 FROM ballots WHERE id <= x'{id}' ORDER BY id DESC LIMIT 1");
                sqlx::query(sqlx::AssertSqlSafe(query))
                    .fetch_optional(&mut mysql.connect().await)
                    .await?
                    .is_some()
            }
        })
    }
}

/// A poll with this number of ballots.
struct Size {
    ballots: u64,
    /// Votes per second since the size before.
    rate: f64,
    /// Resident memory of the store's server, in MiB.
    memory: f64,
    /// Files of the store's server, in MiB.
    disk: f64,
    page: Measured,
    /// Seconds of `voting-storage export`, `import` into an empty store, and `transfer` to one.
    commands: [f64; 3],
}

/// The purge of expired ids under votes.
struct Purge {
    ids: u64,
    seconds: f64,
    /// Seconds from its start in which votes were counted.
    window: f64,
    /// Votes per second before it, and in the window.
    rates: [f64; 2],
}

/// Runs a poll with this number of ballots on each store. Returns the tables in Markdown.
pub async fn measure(ballots: u64, bar: &ProgressBar) -> anyhow::Result<String> {
    let mut text = format!(
        "{}\n\nVotes from {CONNECTIONS} connections. Pages from 32 connections. Memory and disk are those of the store's server.\n\n\
         | store | ballots | votes/s | memory | disk | `GET /`, p50 / p99 | export | import | transfer |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        machine().await
    );
    let mut purges = String::from(
        "\n| store | expired ids | purged in | votes/s before | votes/s meanwhile | votes that each id costs |\n|---|---|---|---|---|---|\n",
    );
    let mut errors = String::new();
    for server in [Server::Redis(Redis::own().await), Server::MySql(MySql::own().await)] {
        let mut poll = Poll::start(server, bar).await?;
        let mut sizes: Vec<Size> = Vec::new();
        for share in [0, 1, 3, 10] {
            let size = poll.grow_to(ballots * share / 10).await?;
            let _ = writeln!(text, "{}", poll.line(&size, sizes.first()));
            sizes.push(size);
        }
        let purge = poll.purge(ballots / 10).await?;
        let name = poll.server.name();
        let _ = writeln!(purges, "{}", purge.line(name));
        if poll.errors > 0 {
            let _ = writeln!(
                errors,
                "\n{} responses of the app on {name} had an unexpected status.",
                poll.errors
            );
        }
    }
    Ok(text + &errors + &purges + &ids::measure(bar).await?)
}

struct Poll<'a> {
    server: Server,
    services: Deployment,
    store: Arc<dyn VoteStore>,
    bar: &'a ProgressBar,
    /// Responses with an unexpected status.
    errors: u64,
}

impl<'a> Poll<'a> {
    async fn start(server: Server, bar: &'a ProgressBar) -> anyhow::Result<Self> {
        let (url, [app, analytics]) = (server.url(), server.releases());
        let services = Deployment::start(app, analytics, &url, &[]).await;
        let store = open_store(&url);
        services.visitor().vote("Cats").await;
        Ok(Self { server, services, store, bar, errors: 0 })
    }

    async fn votes(&self) -> anyhow::Result<u64> {
        Ok(self.store.tally().await?.total())
    }

    async fn grow_to(&mut self, ballots: u64) -> anyhow::Result<Size> {
        let (start, before) = (Instant::now(), self.votes().await?);
        let mut votes = before;
        while votes < ballots {
            self.bar.set_message(format!("{}: {votes} of {ballots} ballots", self.server.name()));
            let rate = (votes - before) as f64 / start.elapsed().as_secs_f64();
            let seconds = if votes == before { 2.0 } else { (ballots - votes) as f64 / rate };
            self.load(Scenario::Vote, CONNECTIONS, (seconds as u64).clamp(1, 20)).await?;
            votes = self.votes().await?;
        }
        let rate = (votes - before) as f64 / start.elapsed().as_secs_f64();
        let page = self.load(Scenario::Page, 32, 3).await?;
        self.bar.set_message(format!("{}: export, import and transfer", self.server.name()));
        let process = self.server.process();
        let (memory, disk) = (resident(process.pid())?, process.disk() as f64 / f64::from(1 << 20));
        Ok(Size { ballots: votes, rate, memory, disk, page, commands: self.commands(votes).await? })
    }

    async fn load(
        &mut self,
        scenario: Scenario,
        connections: usize,
        seconds: u64,
    ) -> anyhow::Result<Measured> {
        let measured = load(self.services.app.address, scenario, connections, seconds).await?;
        self.errors += measured.errors;
        Ok(measured)
    }

    /// Runs the operator's commands. The stores that they fill must have these votes.
    async fn commands(&self, votes: u64) -> anyhow::Result<[f64; 3]> {
        let url = self.server.url();
        let (imported, transferred) = (self.server.another().await, self.server.another().await);
        let file = tempfile::NamedTempFile::new()?;
        let export = timed(&["export"], &url).await?;
        std::fs::write(&file, export.1)?;
        let path = file.path().to_str().context("the path of a temporary file")?;
        let import = timed(&["import", path], &imported.url()).await?;
        let transfer = timed(&["transfer", "--from", &url, "--to", &transferred.url()], &url).await?;
        for copy in [imported, transferred] {
            let copied = open_store(&copy.url()).tally().await?.total();
            ensure!(copied == votes, "a copy has {copied} votes instead of {votes}");
        }
        Ok([export.0, import.0, transfer.0])
    }

    fn line(&self, size: &Size, empty: Option<&Size>) -> String {
        // Of the ballots alone.
        let cost = |of: fn(&Size) -> f64| {
            let per_million = |empty: &Size| {
                let millions = (size.ballots - empty.ballots) as f64 / 1e6;
                format!(" ({:.0} per million)", (of(size) - of(empty)) / millions)
            };
            format!("{:.0} MiB{}", of(size), empty.map(per_million).unwrap_or_default())
        };
        let rate = if size.rate > 0.0 { format!("{:.0}", size.rate) } else { "-".to_owned() };
        let [export, import, transfer] = size.commands;
        format!(
            "| {} | {} | {rate} | {} | {} | {:.1} / {:.1} ms | {export:.2} s | {import:.2} s | {transfer:.2} s |",
            self.server.name(),
            size.ballots,
            cost(|size| size.memory),
            cost(|size| size.disk),
            size.page.p50,
            size.page.p99,
        )
    }

    /// Casts this number of ballots whose ids have expired, and has them purged under votes.
    async fn purge(&mut self, ids: u64) -> anyhow::Result<Purge> {
        let name = self.server.name();
        // Their own purges begin later than the one that is measured.
        let (url, [app, analytics]) = (self.server.url(), self.server.releases());
        self.services = Deployment::start(app, analytics, &url, &[]).await;
        self.store = open_store(&url);

        self.bar.set_message(format!("{name}: {ids} ballots that have expired"));
        let oldest = ballot_of_age(Choice::First, EXPIRED + Duration::from_secs(SPREAD));
        self.store.cast(oldest).await?;
        let mut voters = JoinSet::new();
        for number in 0..CONNECTIONS as u64 {
            let store = self.store.clone();
            voters.spawn(async move {
                for ballot in (number..ids).step_by(CONNECTIONS) {
                    let age = EXPIRED + Duration::from_secs(ballot % SPREAD);
                    store.cast(ballot_of_age(Choice::First, age)).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = voters.join_next().await {
            done??;
        }
        let newest = ballot_of_age(Choice::First, EXPIRED);

        self.bar.set_message(format!("{name}: votes before the purge"));
        let address = self.services.app.address;
        let voters = tokio::spawn(load(address, Scenario::Vote, CONNECTIONS, 600));
        let voters = AbortOnDropHandle::new(voters);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (from, first) = (Instant::now(), self.votes().await?);
        tokio::time::sleep(WINDOW).await;
        let before = (self.votes().await? - first) as f64 / from.elapsed().as_secs_f64();

        let clock = FakeClock::fast_at_first(FAST.0, FAST.1);
        let mut settings = clock.variables();
        settings.extend([("STORAGE_URL".to_owned(), url), ("RELEASE".to_owned(), app.to_owned())]);
        let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let purger = Service::start("voting-app", &settings).await;
        let wake = || async {
            // A runtime looks at its clock when a request comes.
            let _ = reqwest::get(purger.admin_url("/livez")).await;
            ensure!(!voters.is_finished(), "the voters ended before the purge");
            tokio::time::sleep(Duration::from_millis(20)).await;
            anyhow::Ok(())
        };
        self.bar.set_message(format!("{name}: the purge"));
        while self.store.cast(oldest).await? != Cast::Expired {
            wake().await?;
        }
        let (from, first) = (Instant::now(), self.votes().await?);
        while self.server.has_ids_as_old_as(newest).await? {
            wake().await?;
        }
        let seconds = from.elapsed().as_secs_f64();
        tokio::time::sleep(WINDOW.saturating_sub(from.elapsed())).await;
        let window = from.elapsed().as_secs_f64();
        let meanwhile = (self.votes().await? - first) as f64 / window;
        Ok(Purge { ids, seconds, window, rates: [before, meanwhile] })
    }
}

impl Purge {
    fn line(&self, store: &str) -> String {
        let Self { ids, seconds, window, rates: [before, meanwhile] } = self;
        let cost = (before - meanwhile) * window / *ids as f64;
        format!(
            "| {store} | {ids} | {seconds:.1} s | {before:.0} | {meanwhile:.0} in {window:.0} s | {cost:.3} |"
        )
    }
}

/// Runs a command of `voting-storage` on this store. Returns its seconds and its output.
async fn timed(arguments: &[&str], url: &str) -> anyhow::Result<(f64, String)> {
    let start = Instant::now();
    let ended = run("voting-storage", arguments, &[("STORAGE_URL", url)]).await;
    ensure!(ended.success, "voting-storage {arguments:?}: {}", ended.stderr);
    Ok((start.elapsed().as_secs_f64(), ended.stdout))
}
