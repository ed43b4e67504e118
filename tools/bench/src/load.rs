//! A load on one address: so many connections, each with one request at a time, for so long.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use voting_core::BallotId;

/// What is asked, where, and how hard.
#[derive(Args, Debug)]
pub struct Arguments {
    /// What is asked.
    pub scenario: Scenario,
    /// Where it is asked.
    #[arg(long)]
    pub address: SocketAddr,
    /// Connections.
    #[arg(long)]
    pub connections: usize,
    /// Seconds that are measured; one more before them is not.
    #[arg(long)]
    pub seconds: u64,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// `GET /`: 200.
    Page,
    /// `POST /` with a ballot of its own each time: 303.
    Vote,
    /// `GET /analytics`: 200.
    Analytics,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Answers a second.
    pub rate: f64,
    /// Half of the answers took at most this, in milliseconds.
    pub p50: f64,
    /// All but one in a hundred took at most this, in milliseconds.
    pub p99: f64,
    /// Answers of another status than the right one, and connections that broke.
    pub wrong: u64,
}

impl Measured {
    /// Takes in what came of another load at the same time; of the times, the longer ones count.
    pub fn add(&mut self, other: &Self) {
        self.rate += other.rate;
        self.p50 = self.p50.max(other.p50);
        self.p99 = self.p99.max(other.p99);
        self.wrong += other.wrong;
    }
}

/// Before the measured time: connections are made, pools filled.
const WARM_UP: Duration = Duration::from_secs(1);

/// Runs the load and prints what came of it as JSON.
pub async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let from = Instant::now() + WARM_UP;
    let until = from + Duration::from_secs(arguments.seconds);
    let mut clients = JoinSet::new();
    for _ in 0..arguments.connections {
        clients.spawn(client(arguments.address, arguments.scenario, from, until));
    }
    let mut all = histogram();
    let mut wrong = 0;
    while let Some(done) = clients.join_next().await {
        let (times, wrong_ones) = done??;
        all.add(times)?;
        wrong += wrong_ones;
    }
    if all.is_empty() {
        bail!("no right answer at all");
    }
    let millis = |quantile| all.value_at_quantile(quantile) as f64 / 1000.0;
    let rate = all.len() as f64 / arguments.seconds as f64;
    let measured = Measured { rate, p50: millis(0.5), p99: millis(0.99), wrong };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// Of microseconds.
fn histogram() -> Histogram<u64> {
    // These bounds are always valid.
    Histogram::new_with_max(60_000_000, 3).unwrap_or_else(|_| unreachable!())
}

async fn client(
    address: SocketAddr,
    scenario: Scenario,
    from: Instant,
    until: Instant,
) -> anyhow::Result<(Histogram<u64>, u64)> {
    let stream = TcpStream::connect(address).await.context("connecting")?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let host = address.to_string();
    let (mut times, mut wrong) = (histogram(), 0);
    loop {
        let request = request(scenario, &host)?;
        let start = Instant::now();
        if start >= until {
            return Ok((times, wrong));
        }
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let is_right = answer.status() == if scenario == Scenario::Vote { 303 } else { 200 };
        answer.into_body().collect().await?;
        let end = Instant::now();
        if end >= from && end < until {
            if is_right {
                times.record(u64::try_from((end - start).as_micros()).unwrap_or(u64::MAX))?;
            } else {
                wrong += 1;
            }
        }
    }
}

fn request(scenario: Scenario, host: &str) -> anyhow::Result<Request<Full<Bytes>>> {
    let request = Request::builder().header(header::HOST, host);
    Ok(match scenario {
        Scenario::Page => request.uri("/").body(Full::default())?,
        Scenario::Analytics => request.uri("/analytics").body(Full::default())?,
        Scenario::Vote => request
            .method(Method::POST)
            .uri("/")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(format!("vote=Cats&ballot={}", BallotId::new())))?,
    })
}
