//! A TCP proxy that simulates network faults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// The behavior of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forwards everything.
    Open,
    /// Closes open connections and refuses new ones.
    Closed,
    /// Forwards requests and closes the connection at the first response: the server has executed a request, and the
    /// client does not know.
    DropAnswers,
    /// Forwards requests and replaces each response by these bytes, as a proxy that lost the server's answer.
    ReplaceAnswers(&'static [u8]),
    /// Keeps connections and forwards nothing, as a network that loses every packet.
    Silent,
    /// Closes open connections; accepts new ones, which stay silent for good, as those to a host that vanished.
    HalfOpen,
    /// Forwards everything with this latency in each direction.
    Distant(Duration),
    /// Forwards everything, requests with this latency.
    SlowRequests(Duration),
    /// Forwards everything, answers with this latency.
    SlowAnswers(Duration),
}

#[derive(Clone, Debug)]
pub struct Proxy {
    address: SocketAddr,
    target: Arc<watch::Sender<SocketAddr>>,
    mode: Arc<watch::Sender<Mode>>,
}

impl Proxy {
    /// Starts a proxy on a free port.
    pub async fn start(target: SocketAddr, mode: Mode) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), target, mode).await
    }

    /// [`Proxy::start`] at this address of the machine.
    pub async fn start_on(ip: IpAddr, target: SocketAddr, mode: Mode) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = Arc::new(watch::Sender::new(mode));
        let target = Arc::new(watch::Sender::new(target));
        let (modes, targets) = (mode.subscribe(), target.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (modes, target) = (modes.clone(), *targets.borrow());
                tokio::spawn(async move {
                    let mode = *modes.borrow();
                    if mode == Mode::HalfOpen {
                        let _held = client;
                        return std::future::pending().await;
                    }
                    if mode != Mode::Closed
                        && let Ok(server) = TcpStream::connect(target).await
                    {
                        pass_on(client, server, modes).await;
                    }
                });
            }
        });
        Self { address, target, mode }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects new connections to this server.
    pub fn set_target(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }

    /// Changes the behavior, for open connections as well.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn pass_on(client: TcpStream, server: TcpStream, mut modes: watch::Receiver<Mode>) {
    // Delayed small packets would distort measurements.
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answers = modes.clone();
    tokio::select! {
        () = copy(from_client, to_server, modes.clone(), false) => {}
        () = copy(from_server, to_client, answers, true) => {}
        _ = modes.wait_for(|mode| matches!(mode, Mode::Closed | Mode::HalfOpen)) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
    is_answer: bool,
) {
    // Data in flight and its arrival time.
    let (send, mut on_its_way) = mpsc::unbounded_channel();
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let mode = *modes.borrow();
            let distance = match mode {
                Mode::DropAnswers if is_answer => return,
                Mode::Distant(distance) => distance,
                Mode::SlowRequests(distance) if !is_answer => distance,
                Mode::SlowAnswers(distance) if is_answer => distance,
                _ => Duration::ZERO,
            };
            let bytes = match mode {
                Mode::ReplaceAnswers(answer) if is_answer => answer,
                _ => &buffer[..length],
            };
            if modes.wait_for(|mode| *mode != Mode::Silent).await.is_err()
                || send.send((Instant::now() + distance, bytes.to_vec())).is_err()
            {
                return;
            }
        }
    };
    let write = async move {
        while let Some((arrival, bytes)) = on_its_way.recv().await {
            if arrival > Instant::now() {
                sleep_until(arrival).await;
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    // After the end of the input, the data in flight still arrives.
    tokio::select! {
        () = write => {}
        () = async { read.await; std::future::pending().await } => {}
    }
}
