//! Serving connections, with limits, until the shutdown.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::lifecycle::Lifecycle;
use crate::observe::{Observed, observe};

/// The most bytes of a request's head; more is answered with 431.
pub const MAX_HEAD: usize = 16 * 1024;
/// The most bytes of a request's cookies; more is answered with 431. Browsers allow this much for one cookie.
pub const MAX_COOKIES: usize = 4 * 1024;
/// The most bytes of a request's body; more is answered with 413. A form of the page has under 500.
pub const MAX_BODY: usize = 16 * 1024;

/// How long clients may take. A proxy in front should end idle connections sooner, so that none is closed under a
/// request that it has just sent.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// From an open or idle connection to the end of a request's head.
    pub head: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self { head: Duration::from_secs(30) }
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

/// What every service does for every request: observed, no answer without the basic security headers, no panic that
/// takes a connection down.
pub fn guarded(routes: Router, observed: Observed) -> Router {
    let header = |name: HeaderName, value| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    routes
        .layer(CatchPanicLayer::custom(|panic: Box<dyn Any + Send>| {
            let cause = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            tracing::error!(cause, "A request made the service panic.");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // Not "no-referrer": with it browsers send forms with `Origin: null`, which no longer shows that they are ours.
        .layer(header(header::REFERRER_POLICY, "same-origin"))
        .layer(from_fn_with_state(observed, observe))
}

/// Whether a request's cookies are more than [`MAX_COOKIES`].
pub fn has_too_many_cookies(request: &Request<Body>) -> bool {
    request.headers().get_all(header::COOKIE).iter().map(HeaderValue::len).sum::<usize>() > MAX_COOKIES
}

/// Serves connections until the lifecycle closes; then finishes the requests in flight, for as long as the deadline
/// allows.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    lifecycle: &Lifecycle,
    deadline: Duration,
    limits: ClientLimits,
) {
    // HTTP/1.1 alone: what a mesh and every browser speak to a plain port. Recognizing HTTP/2 would wait for a
    // client's first bytes without a limit.
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(MAX_HEAD);
    let routes = routes.layer(from_fn_with_state(lifecycle.clone(), close_while_draining));
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
        let service = TowerToHyperService::new(tower::ServiceExt::map_request(
            routes.clone(),
            |request: http::Request<hyper::body::Incoming>| request.map(Body::new),
        ));
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

/// Tells clients that keep a connection to open another one: whoever routes here has been told that the service is not
/// ready, so the next one goes elsewhere, and none is closed under a request.
async fn close_while_draining(State(lifecycle): State<Lifecycle>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if lifecycle.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
