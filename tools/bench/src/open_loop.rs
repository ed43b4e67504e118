//! The open-loop load generator: votes at a fixed rate, however long the answers take.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::load::{Connection, Scenario, histogram, micros, millis};

/// Arguments of the open-loop load generator.
#[derive(Args, Debug)]
pub struct OpenLoopArgs {
    /// Address of the target.
    #[arg(long)]
    pub address: SocketAddr,
    /// Votes per second.
    #[arg(long)]
    pub rate: u64,
    /// Largest number of connections. A vote without a free one is not sent.
    #[arg(long)]
    pub connections: usize,
    /// Measured seconds, after a warm-up of as many as the app lets a vote wait.
    #[arg(long)]
    pub seconds: u64,
}

/// The result of an open-loop load.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// Votes sent per second.
    pub offered: f64,
    /// Votes accepted per second.
    pub accepted: f64,
    /// 99th percentile of the time to acceptance, in milliseconds.
    pub accepted_p99: f64,
    /// 99th percentile of the time to a rejection (503), in milliseconds.
    pub rejected_p99: Option<f64>,
    /// Votes without an answer, or with another status.
    pub errors: u64,
}

/// The time after which the load is in balance: votes that wait are as many as they will be.
const WARM_UP: Duration = Duration::from_secs(4);

/// The results of the requests, and the idle connections.
struct Shared {
    idle: Vec<Connection>,
    open: usize,
    offered: u64,
    accepted: Histogram<u64>,
    rejected: Histogram<u64>,
}

/// Runs the load and prints the result as JSON.
pub async fn run(arguments: &OpenLoopArgs) -> anyhow::Result<()> {
    let from = Instant::now() + WARM_UP;
    let until = from + Duration::from_secs(arguments.seconds);
    let shared = Arc::new(Mutex::new(Shared {
        idle: Vec::new(),
        open: 0,
        offered: 0,
        accepted: histogram(),
        rejected: histogram(),
    }));
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let start = Instant::now();
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut votes, mut sent) = (JoinSet::new(), 0);
    while Instant::now() < until {
        ticks.tick().await;
        while votes.try_join_next().is_some() {}
        let due = (start.elapsed().as_secs_f64() * arguments.rate as f64) as u64;
        for _ in sent..due {
            let connection = {
                let mut shared = lock();
                match shared.idle.pop() {
                    None if shared.open < arguments.connections => {
                        shared.open += 1;
                        None
                    }
                    None => continue,
                    connection => connection,
                }
            };
            votes.spawn(vote(arguments.address, connection, shared.clone(), (from, until)));
        }
        sent = due;
    }
    votes.join_all().await;
    let shared = lock();
    let answered = Answered {
        offered: shared.offered as f64 / arguments.seconds as f64,
        accepted: shared.accepted.len() as f64 / arguments.seconds as f64,
        accepted_p99: millis(&shared.accepted, 0.99),
        rejected_p99: (!shared.rejected.is_empty()).then(|| millis(&shared.rejected, 0.99)),
        errors: shared.offered - shared.accepted.len() - shared.rejected.len(),
    };
    println!("{}", serde_json::to_string(&answered)?);
    Ok(())
}

/// Sends a vote and records its result if it is sent in the measured time.
async fn vote(
    address: SocketAddr,
    connection: Option<Connection>,
    shared: Arc<Mutex<Shared>>,
    (from, until): (Instant, Instant),
) {
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let start = Instant::now();
    let is_measured = start >= from && start < until;
    if is_measured {
        lock().offered += 1;
    }
    let send = async {
        // The target may have closed an idle connection.
        if let Some(mut connection) = connection
            && let Ok(status) = connection.send(Scenario::Vote).await
        {
            return Ok((connection, status));
        }
        let mut connection = Connection::open(address).await?;
        let status = connection.send(Scenario::Vote).await?;
        anyhow::Ok((connection, status))
    };
    let Ok((connection, status)) = send.await else {
        // Counted as neither accepted nor rejected.
        lock().open -= 1;
        return;
    };
    let mut shared = lock();
    shared.idle.push(connection);
    if is_measured {
        let time = micros(start.elapsed());
        match status {
            StatusCode::SEE_OTHER => shared.accepted.saturating_record(time),
            StatusCode::SERVICE_UNAVAILABLE => shared.rejected.saturating_record(time),
            _ => {}
        }
    }
}
