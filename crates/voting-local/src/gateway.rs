//! The stand-in for the mesh: selects the release that serves a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt as _;
use voting_http::feature_flag;

/// The routing of requests.
#[derive(Clone)]
pub enum Routing {
    /// Everything to one release.
    One(Router),
    /// By the feature-flag cookie.
    ByFlag {
        /// Browsers without the flag.
        off: Router,
        /// Browsers with the flag.
        on: Router,
    },
    /// To each in turn, much as a Kubernetes service without routing rules does.
    RoundRobin(Vec<Router>),
}

#[derive(Clone)]
struct Gateway {
    routing: Arc<Routing>,
    next: Arc<AtomicUsize>,
}

/// A router that forwards every request by this routing.
pub fn gateway(routing: Routing) -> Router {
    let gateway = Gateway { routing: Arc::new(routing), next: Arc::default() };
    Router::new().fallback(route).with_state(gateway)
}

async fn route(State(gateway): State<Gateway>, request: Request) -> Response {
    let target = match gateway.routing.as_ref() {
        Routing::One(target) => target,
        Routing::ByFlag { off, on } => {
            if feature_flag::is_on(request.headers()) {
                on
            } else {
                off
            }
        }
        Routing::RoundRobin(targets) => {
            &targets[gateway.next.fetch_add(1, Ordering::Relaxed) % targets.len()]
        }
    };
    target.clone().oneshot(request).await.into_response()
}
