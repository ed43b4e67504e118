//! The client of voting-analytics.
//!
//! Concurrent page views share one call. A call serves only views that arrived before it started, so that voters always
//! see their own votes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{HeaderMap, HeaderValue, USER_AGENT};
use axum::http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as RequestError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use tokio::time::Instant;
use tracing::{Span, field};
use url::Url;
use voting_batch::{BatchHandler, Batcher};
use voting_config::has_user;
use voting_core::release::{AppRelease, Released as _};
use voting_core::{Choice, Choices};
use voting_faults::Faults;
use voting_http::serving_path::ServingPath;
use voting_http::trace;
use voting_storage::is_unspecified;

use crate::metrics::AnalyticsMetrics;

/// Deadline of a page view's results; past it, the page shows that they are unavailable.
const TIMEOUT: Duration = Duration::from_millis(1500);

/// The most bytes of a response body.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The URL of `GET /analytics`.
#[derive(Clone, Debug)]
pub struct AnalyticsUrl(Uri);

/// A text is not the URL of voting-analytics.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "is not the URL of voting-analytics; allowed: http://HOST:PORT, with a host to connect to (not 0.0.0.0 or ::)"
)]
pub struct InvalidAnalyticsUrl;

impl FromStr for AnalyticsUrl {
    type Err = InvalidAnalyticsUrl;

    fn from_str(text: &str) -> Result<Self, InvalidAnalyticsUrl> {
        let url = Url::parse(text).map_err(|_| InvalidAnalyticsUrl)?;
        let is_server = url.host_str().is_some_and(|host| !is_unspecified(host));
        if url.scheme() != "http" || !is_server || url.path() != "/" || has_user(&url) {
            return Err(InvalidAnalyticsUrl);
        }
        let url = url.join("analytics").map_err(|_| InvalidAnalyticsUrl)?;
        Ok(Self(Uri::try_from(url.as_str()).map_err(|_| InvalidAnalyticsUrl)?))
    }
}

impl fmt::Display for AnalyticsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The results of the poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Results {
    /// In words, on one line.
    pub text: String,
    /// The votes of each choice, in the order of the poll.
    pub counts: [u64; 2],
    /// The releases that served them, this one of voting-app included.
    pub path: Option<ServingPath>,
}

/// The part of the response that the page needs.
#[derive(Deserialize)]
struct AnalyticsResponse {
    category1: CategoryResult,
    category2: CategoryResult,
    text: String,
}

#[derive(Deserialize)]
struct CategoryResult {
    name: String,
    count: u64,
}

/// A client of voting-analytics; clones share its calls.
#[derive(Clone)]
pub struct AnalyticsClient(Batcher<Connection>);

impl AnalyticsClient {
    /// Starts a release's client of this URL. Must be called on a Tokio runtime.
    ///
    /// # Panics
    /// If the release is not a valid header.
    pub fn new(
        release: &AppRelease,
        url: AnalyticsUrl,
        choices: &Choices,
        faults: Option<&Faults>,
        metrics: AnalyticsMetrics,
    ) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        // The deadline of the batch bounds a call.
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        let batch = metrics.batch.clone();
        let agent = format!("{}/{}", AppRelease::COMPONENT, release.version);
        let agent = HeaderValue::try_from(agent).expect("a component and a release are valid in a header");
        let faults = faults.map(Faults::names);
        let connection = Connection {
            client,
            agent,
            url,
            release: release.version,
            faults,
            choices: choices.clone(),
            metrics,
        };
        Self(Batcher::start([connection], batch))
    }

    /// Reads the results, not older than this call; `None` if they are unavailable. Forwards the trace headers among
    /// `headers`.
    pub async fn results(&self, headers: &HeaderMap) -> Option<Arc<Results>> {
        self.0.submit(trace::carried(headers), Instant::now() + TIMEOUT).await.ok().flatten()
    }
}

struct Connection {
    client: Client<HttpConnector, Empty<Bytes>>,
    /// Names the release: with the Gateway API, the mesh routes by it.
    agent: HeaderValue,
    url: AnalyticsUrl,
    release: &'static str,
    faults: Option<String>,
    choices: Choices,
    metrics: AnalyticsMetrics,
}

impl BatchHandler for Connection {
    /// The trace headers of a page view. A call forwards those of the first view in the batch.
    type Request = HeaderMap;
    type Answer = Option<Arc<Results>>;
    const MAX_BATCH: usize = 4096;

    fn span(&self, parent: &Span) -> Span {
        tracing::debug_span!(
            parent: parent,
            "analytics",
            otel.name = "GET",
            otel.kind = "client",
            otel.status_code = field::Empty,
            http.request.method = "GET",
            url.full = %self.url,
        )
    }

    async fn handle(&mut self, batch: &[HeaderMap], until: Instant) -> Vec<Self::Answer> {
        let trace = trace::outgoing(batch.first().cloned().unwrap_or_default());
        let start = Instant::now();
        let result =
            tokio::time::timeout_at(until, self.call(trace)).await.unwrap_or(Err(CallError::Timeout));
        let outcome = match &result {
            Ok(_) => "ok",
            Err(CallError::Timeout) => "timeout",
            Err(CallError::Request(_) | CallError::Status(_) | CallError::OfApp(_) | CallError::Body(_)) => {
                "failed"
            }
            Err(CallError::BodyTooLarge | CallError::InvalidBody(_) | CallError::OfOtherPoll { .. }) => {
                "invalid"
            }
        };
        self.metrics.observe(outcome, start.elapsed());
        if let Err(error) = &result {
            Span::current().record("otel.status_code", "ERROR");
            tracing::warn!(%error, url = %self.url, "request to voting-analytics failed");
        }
        vec![result.ok().map(Arc::new); batch.len()]
    }
}

#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("{}", chain(.0))]
    Request(#[from] RequestError),
    #[error("the response is {0}")]
    Status(StatusCode),
    #[error(
        "the response is {0} of voting-app; allowed: ANALYTICS_URL, or ANALYTICS_HOST and ANALYTICS_PORT, of voting-analytics"
    )]
    OfApp(StatusCode),
    #[error("the response broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("no response in time")]
    Timeout,
    #[error("the response has more than {MAX_BODY_BYTES} bytes")]
    BodyTooLarge,
    #[error("invalid response: {0}")]
    InvalidBody(#[from] serde_json::Error),
    #[error(
        "the results are for {theirs:?}, this page is for {own:?}; allowed: the same VOTE1VALUE and VOTE2VALUE for both"
    )]
    OfOtherPoll { theirs: [String; 2], own: [String; 2] },
}

/// An error with its causes, which its own text omits.
fn chain(error: &RequestError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Connection {
    async fn call(&self, trace: HeaderMap) -> Result<Results, CallError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.url.0.clone();
        *request.headers_mut() = trace;
        request.headers_mut().insert(USER_AGENT, self.agent.clone());
        let response = self.client.request(request).await?;
        let path = ServingPath::from_headers(response.headers());
        // This app itself, or another one.
        if path.as_ref().is_some_and(|path| path.release("app").is_some()) {
            return Err(CallError::OfApp(response.status()));
        }
        if response.status() != StatusCode::OK {
            return Err(CallError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { CallError::BodyTooLarge } else { CallError::Body(error) }
        })?;
        let AnalyticsResponse { category1, category2, text } = serde_json::from_slice(&body.to_bytes())?;
        let (theirs, own) = (
            [category1.name, category2.name],
            Choice::ALL.map(|choice| self.choices.name(choice).to_string()),
        );
        if theirs != own {
            return Err(CallError::OfOtherPoll { theirs, own });
        }
        Ok(Results {
            text: text.replace(['\r', '\n'], " "),
            counts: [category1.count, category2.count],
            path: path.map(|path| path.with_app(self.release).with_faults("app", self.faults.as_deref())),
        })
    }
}
