//! The layer around all routes of a service: observes each request, adds the common headers to each response, and turns a
//! panic into a 500.
//!
//! It replaces tower-http's `CatchPanicLayer`, `SetResponseHeaderLayer` and axum's `from_fn`: each layer of a router
//! copies and boxes every request. One layer instead of eight reduced the CPU time of a vote from 88 to 70 µs
//! (`docs/benchmarks.md`).

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use tower::{Layer, Service};

use crate::observe::{RequestObserver, observe};

/// Steps of a service before and after its routes.
pub trait Around: Send + Sync + 'static {
    /// The properties of the request that `after` needs.
    type Request: Send;

    /// Looks at a request before it is routed.
    ///
    /// # Errors
    /// The response to a request that is not to be routed.
    fn before(&self, request: &Request) -> Result<Self::Request, Box<Response>>;

    /// Completes the response of a route.
    fn after(&self, request: Self::Request, response: Response) -> Response;
}

/// No steps.
impl Around for () {
    type Request = ();

    fn before(&self, _: &Request) -> Result<(), Box<Response>> {
        Ok(())
    }

    fn after(&self, (): (), response: Response) -> Response {
        response
    }
}

/// The headers of every response.
pub fn common_headers() -> [(HeaderName, HeaderValue); 2] {
    [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // Not "no-referrer": with it, browsers submit forms with `Origin: null`, which the check of the origin rejects.
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    ]
}

/// The layer around a service's routes; clones share their configuration.
pub struct CommonLayer<A>(Arc<Config<A>>);

struct Config<A> {
    observer: RequestObserver,
    headers: Vec<(HeaderName, HeaderValue)>,
    around: A,
}

impl<A> Clone for CommonLayer<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A: Around> CommonLayer<A> {
    /// A layer that also does what `around` does. `headers` are added to each response that lacks them.
    pub fn new(
        observer: RequestObserver,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
        around: A,
    ) -> Self {
        let headers = common_headers().into_iter().chain(headers).collect();
        Self(Arc::new(Config { observer, headers, around }))
    }
}

impl<S, A> Layer<S> for CommonLayer<A> {
    type Service = CommonService<S, A>;

    fn layer(&self, inner: S) -> CommonService<S, A> {
        CommonService { config: self.0.clone(), inner }
    }
}

/// The service of a [`CommonLayer`].
pub struct CommonService<S, A> {
    config: Arc<Config<A>>,
    inner: S,
}

impl<S: Clone, A> Clone for CommonService<S, A> {
    fn clone(&self) -> Self {
        Self { config: self.config.clone(), inner: self.inner.clone() }
    }
}

impl<S, A> Service<Request> for CommonService<S, A>
where
    A: Around,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let clone = self.inner.clone();
        // Calls the clone that `poll_ready` was called on.
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let config = self.config.clone();
        Box::pin(async move {
            let response = observe(&config.observer, request, async |request| {
                let handled = async {
                    let known = config.around.before(&request)?;
                    let Ok(response) = inner.call(request).await;
                    Ok::<_, Box<Response>>(config.around.after(known, response))
                };
                let mut response = match AssertUnwindSafe(handled).catch_unwind().await {
                    Ok(Ok(response)) => response,
                    Ok(Err(response)) => *response,
                    Err(panic) => internal_error(panic),
                };
                let headers = response.headers_mut();
                headers.reserve(config.headers.len());
                for (name, value) in &config.headers {
                    headers.entry(name).or_insert_with(|| value.clone());
                }
                response
            });
            Ok(response.await)
        })
    }
}

fn internal_error(panic: Box<dyn Any + Send>) -> Response {
    let cause =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(cause, "panic while handling a request");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
