//! What holds for every request of a service: it is observed, no answer goes without the basic headers, and no panic
//! takes a connection down.
//!
//! It is one layer, because each layer of a router costs every request some memory and copies of what lies within
//! (`docs/benchmarks.md` has the figures). A service that has another one puts both into one `ServiceBuilder`.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use tower::{Layer, Service};

use crate::observe::{RequestObserver, observe};

/// The most bytes of a request's cookies; more is answered with 431. Browsers allow this much for one cookie.
pub const MAX_COOKIE_BYTES: usize = 4 * 1024;

/// The layer around a service's routes; clones share it.
#[derive(Clone)]
pub struct CommonLayer(Arc<Config>);

/// Has an answer for those requests that are to be refused.
type Refuse = Box<dyn Fn(&Request) -> Option<Response> + Send + Sync>;

struct Config {
    observed: RequestObserver,
    headers: Vec<(HeaderName, HeaderValue)>,
    refuse: Refuse,
}

impl CommonLayer {
    /// A guard that answers at once those requests for which `refuse` has an answer, and gives every answer these
    /// headers, unless it has others of their names, beside those that every service should have.
    pub fn new(
        observed: RequestObserver,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
        refuse: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let basic = [
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            // Not "no-referrer": with it browsers send forms with `Origin: null`, which no longer shows that they are
            // ours.
            (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        ];
        let headers = basic.into_iter().chain(headers).collect();
        Self(Arc::new(Config { observed, headers, refuse: Box::new(refuse) }))
    }
}

impl<S> Layer<S> for CommonLayer {
    type Service = CommonService<S>;

    fn layer(&self, routes: S) -> CommonService<S> {
        CommonService { config: self.0.clone(), routes }
    }
}

/// What lies behind a [`CommonLayer`].
#[derive(Clone)]
pub struct CommonService<S> {
    config: Arc<Config>,
    routes: S,
}

impl<S> Service<Request> for CommonService<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.routes.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let next = self.routes.clone();
        // The one that is ready is the one that was asked.
        let mut routes = std::mem::replace(&mut self.routes, next);
        let config = self.config.clone();
        Box::pin(async move {
            let answer = observe(&config.observed, request, async |request| {
                let mut response = match (config.refuse)(&request) {
                    Some(response) => response,
                    None => match AssertUnwindSafe(routes.call(request)).catch_unwind().await {
                        Ok(Ok(response)) => response,
                        Err(panic) => panicked(panic),
                    },
                };
                let headers = response.headers_mut();
                headers.reserve(config.headers.len());
                for (name, value) in &config.headers {
                    headers.entry(name).or_insert_with(|| value.clone());
                }
                response
            });
            Ok(answer.await)
        })
    }
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let cause =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(cause, "A request made the service panic.");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// Whether these cookies are more than [`MAX_COOKIE_BYTES`].
pub fn has_too_many_cookies(headers: &HeaderMap) -> bool {
    headers.get_all(header::COOKIE).iter().map(HeaderValue::len).sum::<usize>() > MAX_COOKIE_BYTES
}
