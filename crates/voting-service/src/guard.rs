//! What holds for every request of a service: it is observed, no answer goes without the basic headers, and no panic
//! takes a connection down.
//!
//! It is one layer, because each layer of a router costs every request memory and copies of those within.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;

use crate::observe::{Observed, observe};

/// The most bytes of a request's cookies; more is answered with 431. Browsers allow this much for one cookie.
pub const MAX_COOKIES: usize = 4 * 1024;

/// A guard of a service's routes.
pub struct Guard {
    observed: Observed,
    headers: Vec<(HeaderName, HeaderValue)>,
    refuse: Box<dyn Fn(&Request) -> Option<Response> + Send + Sync>,
}

impl Guard {
    /// A guard that gives every answer the headers that every service should have.
    pub fn new(observed: Observed) -> Self {
        Self { observed, headers: Vec::new(), refuse: Box::new(|_| None) }
            .header(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
            // Not "no-referrer": with it browsers send forms with `Origin: null`, which no longer shows that they are
            // ours.
            .header(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"))
    }

    /// Gives this header to every answer that has none of the name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Answers requests at once for which `refuse` has an answer.
    #[must_use]
    pub fn refuse(mut self, refuse: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static) -> Self {
        self.refuse = Box::new(refuse);
        self
    }

    /// Routes behind the guard.
    pub fn guard(self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(Arc::new(self), pass))
    }
}

async fn pass(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    observe(&guard.observed, request, async |request| {
        let mut response = match (guard.refuse)(&request) {
            Some(response) => response,
            None => AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(panicked),
        };
        let headers = response.headers_mut();
        headers.reserve(guard.headers.len());
        for (name, value) in &guard.headers {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        response
    })
    .await
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let cause = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(cause, "A request made the service panic.");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// Whether these cookies are more than [`MAX_COOKIES`].
pub fn has_too_many_cookies(headers: &HeaderMap) -> bool {
    headers.get_all(header::COOKIE).iter().map(HeaderValue::len).sum::<usize>() > MAX_COOKIES
}
