//! Serving connections, with limits, until the shutdown.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use crate::lifecycle::Lifecycle;

/// The most bytes of a request's head; more is answered with 431.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;
/// The most bytes of a request's body; more is answered with 413. A form of the page has under 500.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// How long clients may take. A proxy in front should end idle connections sooner, so that none is closed under a
/// request that it has just sent.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// From an open or idle connection to the end of a request's head.
    pub header: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self { header: Duration::from_secs(30) }
    }
}

/// Raises this process's limit of open files, and so of connections, as far as the machine allows: shells and
/// containers start programs with 1,024, which a thousand live viewers use up.
pub fn allow_many_connections() {
    // Without the right to raise it the old limit holds; that is no reason not to serve.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
}

/// Listens on this address.
///
/// # Errors
/// One line that names the address and says what to do, for a port in use or one that needs rights.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, CannotListen> {
    TcpListener::bind(address).await.map_err(|error| CannotListen { address, error })
}

/// An address can't be listened on.
#[derive(Debug)]
pub struct CannotListen {
    address: SocketAddr,
    error: std::io::Error,
}

impl std::fmt::Display for CannotListen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::io::ErrorKind::{AddrInUse, PermissionDenied};
        let Self { address, error } = self;
        match error.kind() {
            AddrInUse => {
                write!(f, "port {} is in use; stop what uses it or choose another port", address.port())
            }
            PermissionDenied => write!(
                f,
                "port {} needs rights that this user lacks; choose one from 1024 on",
                address.port()
            ),
            _ => write!(f, "can't listen on {address}: {error}"),
        }
    }
}

impl std::error::Error for CannotListen {}

/// Serves connections until the lifecycle closes; then finishes the requests in flight, for as long as the deadline
/// allows.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    lifecycle: &Lifecycle,
    deadline: Duration,
    timeouts: ClientTimeouts,
) {
    // HTTP/1.1 alone: what a mesh and every browser speak to a plain port. Recognizing HTTP/2 would wait for a
    // client's first bytes without a limit.
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(timeouts.header).max_buf_size(MAX_HEADER_BYTES);
    let connections = GracefulShutdown::new();
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: others must end first.
                    tracing::warn!(%error, "A connection could not be taken.");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = lifecycle.closing() => break,
        };
        while tasks.try_join_next().is_some() {}
        let _ = stream.set_nodelay(true);
        let lifecycle = lifecycle.clone();
        let service = routes
            .clone()
            .map_request(|request: http::Request<hyper::body::Incoming>| request.map(Body::new))
            .map_response(move |mut response: Response| {
                // Whoever keeps this connection has been told that the service is not ready: the next one goes
                // elsewhere, and none is closed under a request.
                if lifecycle.is_draining() {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                response
            });
        let service = TowerToHyperService::new(service);
        let connection = server.serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection);
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "A connection ended with an error.");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(deadline, connections.shutdown()).await.is_err() {
        tracing::warn!(?deadline, "Requests were still in flight at the deadline; they are cut off.");
    }
    tasks.shutdown().await;
}
