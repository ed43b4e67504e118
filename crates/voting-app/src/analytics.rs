//! The client of voting-analytics.
//!
//! Page views that wait at the same time share one call. A call serves only views that arrived before it began, so
//! every voter sees their own vote.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use reqwest::{Client, Url, redirect};
use serde::Deserialize;
use tokio::time::Instant;
use tracing::{Span, field};
use voting_batch::{BatchHandler, Batcher};
use voting_http::headers::VOTING_PATH;
use voting_http::trace;

use crate::metrics::AnalyticsMetrics;

/// How long a page view waits for the results; after that the page says that they are unavailable.
pub const TIMEOUT: Duration = Duration::from_millis(1500);

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Where voting-analytics answers: the URL of its results.
#[derive(Clone, Debug)]
pub struct AnalyticsUrl(Url);

/// A text is not the URL of voting-analytics.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("is not the URL of voting-analytics; allowed: http://HOST:PORT")]
pub struct InvalidAnalyticsUrl;

impl FromStr for AnalyticsUrl {
    type Err = InvalidAnalyticsUrl;

    fn from_str(text: &str) -> Result<Self, InvalidAnalyticsUrl> {
        let url = Url::parse(text).map_err(|_| InvalidAnalyticsUrl)?;
        if url.scheme() != "http" || !url.has_host() || url.path() != "/" {
            return Err(InvalidAnalyticsUrl);
        }
        Ok(Self(url.join("analytics").map_err(|_| InvalidAnalyticsUrl)?))
    }
}

impl fmt::Display for AnalyticsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the votes add up to, as voting-analytics says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Results {
    /// In words: the line of the page.
    pub text: String,
    /// The votes of each choice, in the order of the poll.
    pub counts: [u64; 2],
    /// Which releases served them: `analytics=1.1, storage=1.0`.
    pub path: Option<HeaderValue>,
}

impl Results {
    /// The release of a component (`analytics`, `storage`) that served them, if they say it.
    pub fn release(&self, component: &str) -> Option<&str> {
        let path = self.path.as_ref()?.to_str().ok()?;
        path.split(", ").find_map(|part| part.strip_prefix(component)?.strip_prefix('='))
    }
}

/// What of the answer's JSON the page needs.
#[derive(Deserialize)]
struct Answer {
    category1: ChoiceCount,
    category2: ChoiceCount,
    text: String,
}

#[derive(Deserialize)]
struct ChoiceCount {
    count: u64,
}

/// Calls voting-analytics; clones share the calls.
#[derive(Clone)]
pub struct AnalyticsClient(Batcher<Caller>);

impl AnalyticsClient {
    /// A client of this URL. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// The HTTP client can't be made.
    pub fn new(url: AnalyticsUrl, metrics: AnalyticsMetrics) -> Result<Self, reqwest::Error> {
        let client =
            Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(TIMEOUT).build()?;
        let batch = metrics.batch.clone();
        Ok(Self(Batcher::start([Caller { client, url, metrics }], batch)))
    }

    /// The results at a moment that is not before the call; `None` if they don't come in time or can't be used.
    /// The trace headers among `headers` go along.
    pub async fn results(&self, headers: &HeaderMap) -> Option<Arc<Results>> {
        self.0.submit(trace::carried(headers), Instant::now() + TIMEOUT).await.ok().flatten()
    }
}

struct Caller {
    client: Client,
    url: AnalyticsUrl,
    metrics: AnalyticsMetrics,
}

impl BatchHandler for Caller {
    /// The trace of a page view. A shared call carries that of the first.
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
        let answer = tokio::time::timeout_at(until, self.call(trace)).await.unwrap_or(Err(CallError::Late));
        let outcome = match &answer {
            Ok(_) => "ok",
            Err(CallError::Late) => "timeout",
            Err(CallError::Http(_)) => "failed",
            Err(CallError::TooLong | CallError::Garbled(_)) => "invalid",
        };
        self.metrics.observe(outcome, start.elapsed());
        if let Err(error) = &answer {
            Span::current().record("otel.status_code", "ERROR");
            tracing::warn!(%error, url = %self.url, "voting-analytics gives no results.");
        }
        vec![answer.ok().map(Arc::new); batch.len()]
    }
}

#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("{}", chain(.0))]
    Http(#[from] reqwest::Error),
    #[error("the answer has more than {MAX_ANSWER} bytes")]
    TooLong,
    #[error("no answer in time")]
    Late,
    #[error("the answer is not that of voting-analytics: {0}")]
    Garbled(#[from] serde_json::Error),
}

/// An error with its causes: reqwest's own text leaves them out.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Caller {
    async fn call(&self, trace: HeaderMap) -> Result<Results, CallError> {
        let mut answer =
            self.client.get(self.url.0.clone()).headers(trace).send().await?.error_for_status()?;
        let path = answer.headers().get(&VOTING_PATH).cloned();
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await? {
            body.extend_from_slice(&part);
            if body.len() > MAX_ANSWER {
                return Err(CallError::TooLong);
            }
        }
        let Answer { category1, category2, text } = serde_json::from_slice(&body)?;
        Ok(Results {
            text: text.replace(['\r', '\n'], " "),
            counts: [category1.count, category2.count],
            path,
        })
    }
}
