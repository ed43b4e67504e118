//! The accept loop: connections with limits of time, size and number, until the shutdown.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::{ServiceExt as _, service_fn};

use crate::connection::{Connection, LargeRequests};
use crate::lifecycle::Lifecycle;

/// Maximum size of a request's header, about that of Envoy (60 KB); a larger one is answered with 431. Most of it are the
/// cookies of sign-in proxies. A connection needs only as much memory as its largest request.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Maximum number of a request's header fields, beyond which it is answered with 431.
pub(crate) const MAX_HEADER_FIELDS: usize = 100;

/// Connections above the limit that get their 503 at a time; further ones are closed without an answer.
const REJECTED_AT_A_TIME: usize = 16;

/// How long a connection above the limit may take to send its request.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// Open files of a service besides its clients' connections: those of the operator's port and of the store, rejected
/// ones, the log.
const OTHER_FILES: usize = 48;

/// Limits of the clients of a port.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// From an open or idle connection to the end of a request's header, and until a client takes the next bytes of a
    /// response. A proxy in front should close idle connections sooner, so that none is closed under a request that it
    /// has just sent.
    pub timeout: Duration,
    /// Connections at a time. Further ones are answered with 503 and closed.
    pub connections: usize,
}

impl ClientLimits {
    /// Of the operator's port: probes, scrapes and a few people.
    pub const OPERATOR: Self = Self { timeout: Duration::from_secs(30), connections: 16 };

    /// These limits, with no more connections than this process may open files.
    ///
    /// Raises the limit of open files to the maximum allowed: shells and containers start programs with 1,024, which a
    /// thousand live viewers use up.
    #[must_use]
    pub fn within_open_files(self) -> Self {
        let connections = self.connections.min(most_connections()).max(1);
        Self { connections, ..self }
    }

    /// The connections that may follow the live results: half of them. The others serve pages and votes.
    pub fn viewers(&self) -> usize {
        self.connections / 2
    }
}

/// The most connections of this process. Raises the limit of open files to the maximum allowed.
pub fn most_connections() -> usize {
    // If raising is not permitted, working with the old limit beats not working.
    let files = rlimit::increase_nofile_limit(u64::MAX).or_else(|_| rlimit::Resource::NOFILE.get_soft());
    let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    files.saturating_sub(OTHER_FILES)
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), connections: 2500 }
    }
}

/// Metrics of the connections of a port; clones share them.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    open: Gauge,
    rejected: Counter,
}

impl ConnectionMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("voting_connections", "Open connections of clients", metrics.open.clone());
        registry.register(
            "voting_connections_rejected",
            "Connections answered with 503 because MAX_CONNECTIONS were open",
            metrics.rejected.clone(),
        );
        metrics
    }
}

/// The server of a port.
#[derive(Clone, Debug)]
pub struct Server {
    /// For the requests in flight at the shutdown; after it, their connections are closed.
    pub deadline: Duration,
    /// The limits of clients.
    pub limits: ClientLimits,
    /// The metrics of connections.
    pub metrics: ConnectionMetrics,
}

impl Server {
    /// Serves connections until the lifecycle closes, then finishes the requests in flight.
    pub async fn serve(self, listener: TcpListener, routes: Router, lifecycle: &Lifecycle) {
        let Self { deadline, limits, metrics } = self;
        let (open, rejected) = (permits(limits.connections), permits(REJECTED_AT_A_TIME));
        let (server, rejecting) = (http(limits.timeout), http(REJECTION_TIMEOUT));
        let large_requests = LargeRequests::default();
        let connections = GracefulShutdown::new();
        let mut tasks = JoinSet::new();
        while let Some(stream) = accept(&listener, lifecycle).await {
            while tasks.try_join_next().is_some() {}
            let _ = stream.set_nodelay(true);
            if let Ok(permit) = open.clone().try_acquire_owned() {
                let gauge = metrics.open.clone();
                gauge.inc();
                let stream = TokioIo::new(Connection::new(stream, limits.timeout, &large_requests));
                let service = TowerToHyperService::new(closing_while_draining(&routes, lifecycle));
                let connection = connections.watch(server.serve_connection(stream, service));
                tasks.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection ended with an error");
                    }
                    gauge.dec();
                    drop(permit);
                });
            } else {
                if metrics.rejected.inc() == 0 {
                    tracing::warn!(
                        limit = limits.connections,
                        "all connections are in use, rejecting further ones; this line is logged once"
                    );
                }
                let Ok(permit) = rejected.clone().try_acquire_owned() else { continue };
                let stream = TokioIo::new(Connection::new(stream, REJECTION_TIMEOUT, &large_requests));
                let service = TowerToHyperService::new(service_fn(reject));
                let connection = connections.watch(rejecting.serve_connection(stream, service));
                tasks.spawn(async move {
                    let _ = connection.await;
                    drop(permit);
                });
            }
        }
        drop(listener);
        if tokio::time::timeout(deadline, connections.shutdown()).await.is_err() {
            tracing::warn!(?deadline, "deadline passed with requests in flight, closing their connections");
        }
        tasks.shutdown().await;
    }
}

/// The next connection; `None` after the lifecycle has closed.
async fn accept(listener: &TcpListener, lifecycle: &Lifecycle) -> Option<TcpStream> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = lifecycle.closing() => return None,
        };
        match accepted {
            Ok((stream, _)) => return Some(stream),
            Err(error) => {
                // Most likely out of file descriptors: other connections must close first.
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn permits(number: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(number.min(Semaphore::MAX_PERMITS)))
}

/// Only HTTP/1.1, which a mesh and every browser speak to a plain port: detecting HTTP/2 would wait for a client's first
/// bytes without a timeout.
fn http(header_timeout: Duration) -> http1::Builder {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(MAX_HEADER_BYTES);
    // The library reads further than a full buffer.
    server.max_header_size(MAX_HEADER_BYTES);
    server
}

/// The routes, whose responses end their connection while the service drains: the client opens its next connection to a
/// ready replica, and this one is not closed under a request.
fn closing_while_draining(
    routes: &Router,
    lifecycle: &Lifecycle,
) -> impl tower::Service<
    http::Request<hyper::body::Incoming>,
    Response = Response,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ 'static {
    let lifecycle = lifecycle.clone();
    routes
        .clone()
        .map_request(|request: http::Request<hyper::body::Incoming>| request.map(Body::new))
        .map_response(move |mut response: Response| {
            if lifecycle.is_draining() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        })
}

/// The answer to a request on a connection above the limit.
async fn reject(_: http::Request<hyper::body::Incoming>) -> Result<Response, Infallible> {
    let headers = [(header::CONNECTION, "close"), (header::RETRY_AFTER, "1")];
    Ok((StatusCode::SERVICE_UNAVAILABLE, headers, "Too many connections. Try again.\n").into_response())
}
