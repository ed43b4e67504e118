//! Trace context of spans, in W3C's and B3's headers. A build without the feature `otlp` has no spans and leaves the
//! headers as they are.

#[cfg(not(feature = "otlp"))]
pub(crate) use disabled::{inject, join};
#[cfg(feature = "otlp")]
pub(crate) use enabled::{inject, join};

#[cfg(feature = "otlp")]
mod enabled {
    use std::sync::LazyLock;

    use axum::http::{HeaderMap, HeaderName};
    use opentelemetry::Context;
    use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator as _};
    use opentelemetry::trace::TraceContextExt as _;
    use opentelemetry_http::{HeaderExtractor, HeaderInjector};
    use opentelemetry_propagator_b3::{B3Encoding, Propagator as B3Propagator};
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    /// A request with one of these headers is part of a trace.
    static CONTEXT: [HeaderName; 3] = [
        HeaderName::from_static("traceparent"),
        HeaderName::from_static("b3"),
        HeaderName::from_static("x-b3-traceid"),
    ];

    /// The last one takes precedence: W3C.
    static PROPAGATORS: LazyLock<TextMapCompositePropagator> = LazyLock::new(|| {
        TextMapCompositePropagator::new(vec![
            Box::new(B3Propagator::with_encoding(B3Encoding::SingleAndMultiHeader)),
            Box::new(TraceContextPropagator::new()),
        ])
    });

    /// Makes `span` part of the trace that these headers name, and returns the trace ID.
    pub(crate) fn join(headers: &HeaderMap, span: &Span) -> Option<String> {
        if span.is_disabled() && !CONTEXT.iter().any(|name| headers.contains_key(name)) {
            return None;
        }
        let remote = PROPAGATORS.extract_with_context(&Context::new(), &HeaderExtractor(headers));
        // Fails without an exporter; then no span exists that could have a parent.
        let _ = span.set_parent(remote.clone());
        [span.context(), remote].into_iter().find_map(|context| {
            let context = context.span().span_context().clone();
            context.is_valid().then(|| context.trace_id().to_string())
        })
    }

    /// Makes a call with these headers a child of the current span.
    pub(crate) fn inject(headers: &mut HeaderMap) {
        let context = Span::current().context();
        if context.span().span_context().is_valid() {
            // Names the parent of the request's span, not of the call's.
            headers.remove("x-b3-parentspanid");
            PROPAGATORS.inject_context(&context, &mut HeaderInjector(headers));
        }
    }
}

#[cfg(not(feature = "otlp"))]
mod disabled {
    use axum::http::HeaderMap;
    use tracing::Span;

    pub(crate) fn join(_headers: &HeaderMap, _span: &Span) -> Option<String> {
        None
    }

    pub(crate) fn inject(_headers: &mut HeaderMap) {}
}
