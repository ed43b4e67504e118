//! What the mesh does in the cluster: picks the release that answers a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt as _;
use voting_http::feature_flag;

/// How requests are routed.
#[derive(Clone)]
pub enum Routing {
    /// All to one release.
    One(Router),
    /// By the cookie of the feature flag.
    ByFlag {
        /// For browsers that have not set it.
        off: Router,
        /// For those that have.
        on: Router,
    },
    /// To each in turn, as a Kubernetes service without routing rules does.
    InTurn(Vec<Router>),
}

#[derive(Clone)]
struct Gateway {
    routing: Arc<Routing>,
    turn: Arc<AtomicUsize>,
}

/// Everything that comes in, answered by the release that the routing picks.
pub fn gateway(routing: Routing) -> Router {
    let gateway = Gateway { routing: Arc::new(routing), turn: Arc::default() };
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
        Routing::InTurn(targets) => &targets[gateway.turn.fetch_add(1, Ordering::Relaxed) % targets.len()],
    };
    target.clone().oneshot(request).await.into_response()
}
