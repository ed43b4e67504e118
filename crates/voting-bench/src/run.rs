//! The whole measurement: each work in rounds that alternate with its limit.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use voting_tests::deployment::Deployment;
use voting_tests::http::Visitor;
use voting_tests::process::{Service, Signal, program};
use voting_tests::servers::{MySql, Redis};

use crate::load::{Measured, Work};
use crate::report::{Figure, Report, Row, machine, median};
use crate::subject::{Limit, Viewers, load};

/// How much is measured.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Rounds of each work; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Seconds of load in a round.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Ballots that the large store holds.
    #[arg(long, default_value_t = 10_000_000)]
    ballots: u64,
    /// Live viewers.
    #[arg(long, default_value_t = 1000)]
    viewers: usize,
    /// Measure only the works whose name has this in it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Where the report goes; without it, it is only printed.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Measures everything.
pub async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let bench = Bench { arguments, bar: bar(), report: Report::default() };
    let report = bench.measure().await?;
    let text = report.text(arguments.rounds, arguments.seconds, &machine().await);
    println!("{text}");
    if let Some(file) = &arguments.output {
        std::fs::write(file, text).with_context(|| file.display().to_string())?;
    }
    ensure!(report.wrong() == 0, "{} answers were wrong", report.wrong());
    Ok(())
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::no_length().with_style(style);
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}

struct Bench<'a> {
    arguments: &'a Arguments,
    bar: ProgressBar,
    report: Report,
}

/// One side of a comparison.
type Side<'a> = (&'a str, SocketAddr);

impl Bench<'_> {
    async fn measure(mut self) -> anyhow::Result<Report> {
        if self.wants("redis") {
            self.on_redis().await?;
        }
        if self.wants("mysql") {
            self.on_mysql().await?;
        }
        if self.wants("split") {
            self.split().await?;
        }
        if self.wants("start") {
            self.start().await?;
        }
        if self.wants("size") {
            let megabytes = std::fs::metadata(program("voting-app"))?.len() as f64 / 1e6;
            self.report.figures.push(Figure {
                what: "release binary of voting-app, stripped",
                value: megabytes,
                goal: 12.0,
                unit: "MB",
            });
        }
        self.bar.finish_and_clear();
        Ok(self.report)
    }

    fn wants(&self, name: &str) -> bool {
        name.contains(&self.arguments.only) || self.arguments.only.contains(name)
    }

    /// Pages, votes and live viewers of release 1.0, and what memory they take.
    async fn on_redis(&mut self) -> anyhow::Result<()> {
        let redis = Redis::own().await;
        let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
        let app = &deployment.app;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let idle = resident(app.pid())?;

        let two_hop = TwoHop::like(&deployment).await?;
        for connections in [32, 256] {
            let work = "`GET /`, app 1.0 + analytics 1.1 on Redis";
            self.compare(
                work,
                Work::Page,
                connections,
                0.8,
                ("two-hop page", two_hop.page.address),
                ("app 1.0", app.address),
            )
            .await?;
        }
        drop(two_hop);

        let other = Redis::own().await;
        let limit = Limit::start("redis-vote", &other.url(), 0).await?;
        for connections in [32, 256] {
            let work = "`POST /` on Redis";
            self.compare(
                work,
                Work::Vote,
                connections,
                0.85,
                ("Redis vote", limit.address),
                ("app 1.0", app.address),
            )
            .await?;
        }
        drop(limit);
        self.viewers(app).await?;
        let heaviest = peak(app.pid())?;
        self.report.figures.push(Figure {
            what: "resident memory of voting-app, idle",
            value: idle,
            goal: 15.0,
            unit: "MiB",
        });
        self.report.figures.push(Figure {
            what: "resident memory of voting-app, the most under the loads on Redis",
            value: heaviest,
            goal: 64.0,
            unit: "MiB",
        });
        Ok(())
    }

    /// Each round without viewers, then with them.
    async fn viewers(&mut self, app: &Service) -> anyhow::Result<()> {
        let (count, connections) = (self.arguments.viewers, 32);
        let mut row = Row::new(
            format!("`POST /` on Redis while {count} live viewers look"),
            connections,
            "no viewer",
            0.9,
        );
        for round in 1..=self.arguments.rounds {
            row.limit.push(self.load("without viewers", app.address, Work::Vote, connections, round).await?);
            let viewers = Viewers::start(app.address, count).await?;
            row.ours.push(self.load("with viewers", app.address, Work::Vote, connections, round).await?);
            drop(viewers);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.keep(row);
        Ok(())
    }

    /// Pages and votes of release 2.0, and analytics on a store with many ballots.
    async fn on_mysql(&mut self) -> anyhow::Result<()> {
        let mysql = MySql::own().await;
        let deployment = Deployment::start("2.0", "2.0", &mysql.url(), &[]).await;
        let app = &deployment.app;
        deployment.visitor().vote("Cats").await;
        let two_hop = TwoHop::like(&deployment).await?;
        for connections in [32, 256] {
            let work = "`GET /`, app 2.0 + analytics 2.0 on MySQL";
            self.compare(
                work,
                Work::Page,
                connections,
                0.75,
                ("two-hop page", two_hop.page.address),
                ("app 2.0", app.address),
            )
            .await?;
        }
        drop(two_hop);

        let other = MySql::own().await;
        let limit = Limit::start("commit-per-vote", &other.url(), 0).await?;
        for (connections, goal) in [(32, f64::NAN), (256, 5.0)] {
            let work = "`POST /` on MySQL";
            self.compare(
                work,
                Work::Vote,
                connections,
                goal,
                ("commit per vote", limit.address),
                ("app 2.0", app.address),
            )
            .await?;
        }
        drop(limit);
        let heaviest = peak(app.pid())?;
        self.report.figures.push(Figure {
            what: "resident memory of voting-app, the most under the loads on MySQL",
            value: heaviest,
            goal: 64.0,
            unit: "MiB",
        });
        drop(deployment);

        let large = MySql::own().await;
        let empty = Deployment::start("2.0", "2.0", &other.url(), &[]).await;
        let full = Deployment::start("2.0", "2.0", &large.url(), &[]).await;
        empty.visitor().vote("Cats").await;
        full.visitor().vote("Cats").await;
        self.fill(&large).await?;
        let work = format!("`GET /analytics` on MySQL after {} ballots", self.arguments.ballots);
        self.compare(
            &work,
            Work::Analytics,
            32,
            0.95,
            ("an empty store", empty.analytics.address),
            ("a full store", full.analytics.address),
        )
        .await
    }

    /// Votes through several apps on one database, whose row of a choice they all want, and on several.
    async fn split(&mut self) -> anyhow::Result<()> {
        const APPS: usize = 4;
        const CONNECTIONS: usize = 64;
        let mysql = MySql::own().await;
        let parts: Vec<_> = (0..APPS).map(|part| format!("{}_{part}", mysql.url())).collect();
        for part in 0..APPS {
            mysql.execute(&format!("CREATE DATABASE {}_{part}", mysql.name())).await;
        }
        let start = async |store: &str| {
            let mut apps = Vec::new();
            for _ in 0..APPS {
                apps.push(Service::start("voting-app", &[("RELEASE", "2.0"), ("STORAGE_URL", store)]).await);
            }
            apps
        };
        let (one, several) = (start(&mysql.url()).await, start(&parts.join(" ")).await);
        let work = format!("`POST /` on MySQL through {APPS} apps, split over {APPS} databases");
        let mut row = Row::new(work, APPS * CONNECTIONS, "one database", f64::NAN);
        for round in 1..=self.arguments.rounds {
            row.limit.push(self.load_all("one database", &one, CONNECTIONS, round).await?);
            row.ours.push(self.load_all("several databases", &several, CONNECTIONS, round).await?);
        }
        self.keep(row);
        Ok(())
    }

    /// Votes on all of these apps at once.
    async fn load_all(
        &self,
        name: &str,
        apps: &[Service],
        connections: usize,
        round: u64,
    ) -> anyhow::Result<Measured> {
        let loads: Vec<_> = apps
            .iter()
            .map(|app| app.address)
            .map(|address| tokio::spawn(load(address, Work::Vote, connections, self.arguments.seconds)))
            .collect();
        self.bar.set_message(format!("round {round}: votes through {} apps on {name}", apps.len()));
        let mut all = Measured { rate: 0.0, p50: 0.0, p99: 0.0, wrong: 0 };
        for load in loads {
            let Measured { rate, p50, p99, wrong } = load.await??;
            all = Measured {
                rate: all.rate + rate,
                p50: all.p50.max(p50),
                p99: all.p99.max(p99),
                wrong: all.wrong + wrong,
            };
        }
        Ok(all)
    }

    /// Keeps a row, and shows it at once, also where nobody sees the progress bar.
    fn keep(&mut self, row: Row) {
        if self.bar.is_hidden() {
            eprintln!("{}", row.line());
        } else {
            self.bar.println(row.line());
        }
        self.report.rows.push(row);
    }

    /// As many ballots as are wanted, with ids of this moment, straight into the tables.
    async fn fill(&self, mysql: &MySql) -> anyhow::Result<()> {
        const AT_ONCE: u64 = 100_000;
        let mut done = 0;
        while done < self.arguments.ballots {
            self.bar.set_message(format!("filling the large store: {done} ballots"));
            let count = AT_ONCE.min(self.arguments.ballots - done);
            mysql.execute(&format!(
                "SET SESSION max_recursive_iterations = 1000000;\
                 INSERT INTO ballots (id) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
                 SELECT UNHEX(CONCAT(LPAD(HEX(FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000)), 12, '0'), '7', LPAD(HEX(i & 4095), 3, '0'), \
                 '8', LPAD(HEX({done} + i), 15, '0'))) FROM n;\
                 UPDATE tallies SET votes = votes + {count} LIMIT 1"
            )).await;
            done += count;
        }
        Ok(())
    }

    /// From the start of the process to ready, with its store up.
    async fn start(&mut self) -> anyhow::Result<()> {
        let redis = Redis::own().await;
        let mut times = Vec::new();
        for round in 1..=self.arguments.rounds.max(5) {
            self.bar.set_message(format!("start to ready, round {round}"));
            let start = Instant::now();
            let mut app =
                Service::start("voting-app", &[("STORAGE_URL", &redis.url()), ("SHUTDOWN_WAIT", "0")]).await;
            let admin = Visitor::new(app.admin_url(""));
            while admin.get("/readyz").await.status != 200 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            times.push(start.elapsed().as_secs_f64() * 1000.0);
            app.signal(Signal::Terminate);
            app.wait().await;
        }
        self.report.figures.push(Figure {
            what: "process start to ready, the store up",
            value: median(times),
            goal: 100.0,
            unit: "ms",
        });
        Ok(())
    }

    async fn compare(
        &mut self,
        work: &str,
        asked: Work,
        connections: usize,
        goal: f64,
        limit: Side<'_>,
        ours: Side<'_>,
    ) -> anyhow::Result<()> {
        let mut row = Row::new(work.to_owned(), connections, limit.0, goal);
        for round in 1..=self.arguments.rounds {
            row.limit.push(self.load(limit.0, limit.1, asked, connections, round).await?);
            row.ours.push(self.load(ours.0, ours.1, asked, connections, round).await?);
        }
        self.keep(row);
        Ok(())
    }

    async fn load(
        &self,
        name: &str,
        address: SocketAddr,
        work: Work,
        connections: usize,
        round: u64,
    ) -> anyhow::Result<Measured> {
        let rounds = self.arguments.rounds;
        self.bar.set_message(format!(
            "round {round} of {rounds}: {work:?} with {connections} connections on {name}"
        ));
        load(address, work, connections, self.arguments.seconds).await.with_context(|| name.to_owned())
    }
}

/// The limit of a page: two programs with answers of the same sizes.
struct TwoHop {
    page: Limit,
    _upstream: Limit,
}

impl TwoHop {
    async fn like(deployment: &Deployment) -> anyhow::Result<Self> {
        let page = deployment.visitor().get("/").await.text.len();
        let summary = Visitor::new(deployment.analytics.url("")).get("/analytics").await.text.len();
        let upstream = Limit::start("static", "", summary).await?;
        let page = Limit::start("two-hop", &format!("http://{}/analytics", upstream.address), page).await?;
        Ok(Self { page, _upstream: upstream })
    }
}

/// The resident memory of a process now, in MiB.
fn resident(pid: u32) -> anyhow::Result<f64> {
    status(pid, "VmRSS:")
}

/// The most that it ever was.
fn peak(pid: u32) -> anyhow::Result<f64> {
    status(pid, "VmHWM:")
}

fn status(pid: u32, key: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .context("only Linux shows a process's memory")?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)).context("no such line")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1024.0)
}
