//! The load generator: a fixed number of connections, each with one request in flight.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use voting_core::BallotId;

/// Arguments of the load generator.
#[derive(Args, Debug)]
pub struct LoadArgs {
    /// Requests to send.
    pub scenario: Scenario,
    /// Address of the target.
    #[arg(long)]
    pub address: SocketAddr,
    /// Number of connections.
    #[arg(long)]
    pub connections: usize,
    /// Measured seconds, after one second of warm-up.
    #[arg(long)]
    pub seconds: u64,
}

/// The requests of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// `GET /`: 200.
    Page,
    /// `POST /` with a new ballot each time: 303.
    Vote,
    /// `GET /analytics`: 200.
    Analytics,
}

/// The result of a load.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Successful requests per second.
    pub rate: f64,
    /// Median latency in milliseconds.
    pub p50: f64,
    /// 99th percentile of the latency in milliseconds.
    pub p99: f64,
    /// Responses with an unexpected status.
    pub errors: u64,
}

impl Measured {
    /// Adds a load that ran at the same time. Latencies are the higher ones of both.
    pub fn add(&mut self, other: &Self) {
        self.rate += other.rate;
        self.p50 = self.p50.max(other.p50);
        self.p99 = self.p99.max(other.p99);
        self.errors += other.errors;
    }
}

/// Time to connect and to fill pools, not measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// Runs the load and prints the result as JSON. On a machine so slow that no request ends in the measured time, that time is
/// doubled.
pub async fn run(arguments: &LoadArgs) -> anyhow::Result<()> {
    for seconds in [1, 2, 4, 8, 16].map(|times| arguments.seconds * times) {
        let (times, errors) = measure(arguments, seconds).await?;
        if !times.is_empty() {
            let rate = times.len() as f64 / seconds as f64;
            let measured = Measured { rate, p50: millis(&times, 0.5), p99: millis(&times, 0.99), errors };
            println!("{}", serde_json::to_string(&measured)?);
            return Ok(());
        }
    }
    bail!("no request succeeded");
}

async fn measure(arguments: &LoadArgs, seconds: u64) -> anyhow::Result<(Histogram<u64>, u64)> {
    let from = Instant::now() + WARM_UP;
    let until = from + Duration::from_secs(seconds);
    let mut clients = JoinSet::new();
    for _ in 0..arguments.connections {
        clients.spawn(client(arguments.address, arguments.scenario, from, until));
    }
    let mut all = histogram();
    let mut errors = 0;
    while let Some(done) = clients.join_next().await {
        let (times, failed) = done??;
        all.add(times)?;
        errors += failed;
    }
    Ok((all, errors))
}

/// A quantile of a [`histogram`], in milliseconds.
pub fn millis(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1000.0
}

/// Microseconds, as in [`histogram`].
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A histogram of microseconds.
pub fn histogram() -> Histogram<u64> {
    // These bounds are always valid.
    Histogram::new_with_max(60_000_000, 3).unwrap_or_else(|_| unreachable!())
}

/// A connection to a target.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: address.to_string() })
    }

    /// Sends a request and reads the whole response.
    pub async fn send(&mut self, scenario: Scenario) -> anyhow::Result<StatusCode> {
        let request = request(scenario, &self.host)?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        response.into_body().collect().await?;
        Ok(status)
    }
}

async fn client(
    address: SocketAddr,
    scenario: Scenario,
    from: Instant,
    until: Instant,
) -> anyhow::Result<(Histogram<u64>, u64)> {
    let mut connection = Connection::open(address).await?;
    let (mut times, mut errors) = (histogram(), 0);
    loop {
        let start = Instant::now();
        if start >= until {
            return Ok((times, errors));
        }
        let status = connection.send(scenario).await?;
        let end = Instant::now();
        if end >= from && end < until {
            if status == if scenario == Scenario::Vote { 303 } else { 200 } {
                times.record(micros(end - start))?;
            } else {
                errors += 1;
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
