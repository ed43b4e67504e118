//! Traces: taken over from a request, carried on with a call.
//!
//! W3C (`traceparent`) and B3 (one header or several) come in and go out; `x-request-id`, which Envoy gives every
//! request, goes along. Without an exporter the headers are carried on as they came. With one ([`crate::telemetry`]) a
//! call carries the span that it is made in.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapCompositePropagator, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_propagator_b3::{B3Encoding, Propagator as B3Propagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The headers of which one is there if the request is part of a trace.
static CONTEXT: [HeaderName; 3] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("b3"),
    HeaderName::from_static("x-b3-traceid"),
];

/// The headers that go along with a call.
static CARRIED: LazyLock<[HeaderName; 10]> = LazyLock::new(|| {
    [
        HeaderName::from_static("traceparent"),
        HeaderName::from_static("tracestate"),
        HeaderName::from_static("baggage"),
        HeaderName::from_static("b3"),
        HeaderName::from_static("x-b3-traceid"),
        HeaderName::from_static("x-b3-spanid"),
        HeaderName::from_static("x-b3-parentspanid"),
        HeaderName::from_static("x-b3-sampled"),
        HeaderName::from_static("x-b3-flags"),
        REQUEST_ID.clone(),
    ]
});

/// Where both are present the last one counts: W3C.
static PROPAGATORS: LazyLock<TextMapCompositePropagator> = LazyLock::new(|| {
    TextMapCompositePropagator::new(vec![
        Box::new(B3Propagator::with_encoding(B3Encoding::SingleAndMultiHeader)),
        Box::new(TraceContextPropagator::new()),
    ])
});

/// Makes `span` a part of the request's trace, and gives the id by which its log lines are found: that of the trace,
/// else the request's id. A request without either is given one, which goes along with its calls.
pub(crate) fn enter(headers: &mut HeaderMap, span: &Span) -> String {
    if !span.is_disabled() || CONTEXT.iter().any(|name| headers.contains_key(name)) {
        let remote = PROPAGATORS.extract_with_context(&Context::new(), &Headers(headers));
        // Fails without an exporter; then there is no span to be a part.
        let _ = span.set_parent(remote.clone());
        for context in [span.context(), remote] {
            let context = context.span().span_context().clone();
            if context.is_valid() {
                return context.trace_id().to_string();
            }
        }
    }
    if let Some(id) = headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok())
        && (1..=64).contains(&id.len())
    {
        return id.to_owned();
    }
    let id = uuid::Uuid::now_v7().to_string();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID.clone(), value);
    }
    id
}

/// The trace headers of a request, to go along with a call.
pub fn carried(headers: &HeaderMap) -> HeaderMap {
    let found = |name: &HeaderName| Some((name.clone(), headers.get(name)?.clone()));
    CARRIED.iter().filter_map(found).collect()
}

/// The headers of a call that is made in the current span, for a request with these trace headers.
pub fn outgoing(mut carried: HeaderMap) -> HeaderMap {
    let context = Span::current().context();
    if context.span().span_context().is_valid() {
        // Names the span before the one that goes out now.
        carried.remove("x-b3-parentspanid");
        PROPAGATORS.inject_context(&context, &mut HeadersMut(&mut carried));
    }
    carried
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}
