//! The accept loop: connections with timeouts and size limits, until the shutdown.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tower::ServiceExt as _;

use crate::lifecycle::Lifecycle;

/// Maximum size of a request's header, about that of Envoy (60 KB); a larger one is answered with 431. A connection needs
/// only as much memory as its largest request.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Connections that wait to be accepted, as in tokio and the standard library.
const BACKLOG: u32 = 1024;

/// Timeouts of clients. A proxy in front should close idle connections sooner, so that none is closed under a request
/// that it has just sent.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// From an open or idle connection to the end of a request's header.
    pub header: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self { header: Duration::from_secs(30) }
    }
}

/// Raises the limit of open files, and so of connections, to the maximum allowed: shells and containers start programs
/// with 1,024, which a thousand live viewers use up.
pub fn allow_many_connections() {
    // If that is not permitted, serving with the old limit beats not serving.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
}

/// Binds a listener.
///
/// # Errors
/// One line that names the port or address and, for a port in use or a privileged one, the remedy.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, CannotListen> {
    let bound = match (bind(address), address) {
        // All addresses of a machine without IPv6.
        (Err(error), SocketAddr::V6(all)) if all.ip().is_unspecified() && lacks_ipv6(&error) => {
            bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        (bound, _) => bound,
    };
    bound.map_err(|error| CannotListen { address, error })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    // As tokio's own `bind` does: a restart does not wait for the old connections.
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // IPv4 as well, whatever the system's default is.
        SockRef::from(&socket).set_only_v6(false)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT))
}

/// The error of [`listen`].
#[derive(Debug)]
pub struct CannotListen {
    address: SocketAddr,
    error: io::Error,
}

impl std::fmt::Display for CannotListen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use io::ErrorKind::{AddrInUse, PermissionDenied};
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

/// Serves connections until the lifecycle closes, then finishes the requests in flight within `deadline`.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    lifecycle: &Lifecycle,
    deadline: Duration,
    timeouts: ClientTimeouts,
) {
    // Only HTTP/1.1, which a mesh and every browser speak to a plain port: detecting HTTP/2 would wait for a client's
    // first bytes without a timeout.
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(timeouts.header).max_buf_size(MAX_HEADER_BYTES);
    let connections = GracefulShutdown::new();
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Most likely out of file descriptors: other connections must close first.
                    tracing::warn!(%error, "accepting a connection failed");
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
                // The client opens its next connection to a ready replica, and this one is not closed under a request.
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
                tracing::debug!(%error, "connection ended with an error");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(deadline, connections.shutdown()).await.is_err() {
        tracing::warn!(?deadline, "deadline passed with requests in flight, closing their connections");
    }
    tasks.shutdown().await;
}
