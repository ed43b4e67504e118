//! Trace context: read from a request, sent along with the calls that it causes.
//!
//! W3C (`traceparent`) and B3 (one header or several) are understood and sent. `x-request-id`, which Envoy gives every
//! request, is forwarded. Without an exporter the headers are forwarded unchanged; with one, a call carries the span
//! that it is made in.
//!
//! Clients choose these headers, and one call may serve the requests of many clients. So only short, printable values
//! are forwarded: no client can make the call longer than the other service accepts.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Span;

use crate::propagation;

/// Twice the length of a `tracestate` that every W3C participant must forward. All ten headers of this length fit into a
/// header of 16 KB, which every server accepts.
const MAX_VALUE_BYTES: usize = 1024;
/// Longer than a UUID, and short enough for a log line.
const MAX_REQUEST_ID_BYTES: usize = 64;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

static FORWARDED: LazyLock<[HeaderName; 10]> = LazyLock::new(|| {
    [
        HeaderName::from_static("traceparent"),
        TRACE_STATE.clone(),
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

/// Makes `span` part of the request's trace and returns the ID for its log lines: the trace ID, else the request ID. A
/// request without either gets a request ID, which is forwarded with its calls.
pub(crate) fn enter(headers: &mut HeaderMap, span: &Span) -> String {
    // The span's context would carry it on, however long it is.
    if headers.get(&TRACE_STATE).is_some_and(|value| !is_forwarded(&TRACE_STATE, value)) {
        headers.remove(&TRACE_STATE);
    }
    if let Some(id) = propagation::join(headers, span) {
        return id;
    }
    if let Some(id) = headers.get(&REQUEST_ID)
        && is_forwarded(&REQUEST_ID, id)
        && let Ok(id) = id.to_str()
    {
        return id.to_owned();
    }
    let id = uuid::Uuid::now_v7().to_string();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID.clone(), value);
    }
    id
}

/// The trace headers of a request that its calls forward.
pub fn carried(headers: &HeaderMap) -> HeaderMap {
    FORWARDED
        .iter()
        .filter_map(|name| {
            let value = headers.get(name).filter(|value| is_forwarded(name, value))?;
            Some((name.clone(), value.clone()))
        })
        .collect()
}

/// The headers of a call that is made in the current span, for a request with these [`carried`] headers.
pub fn outgoing(mut carried: HeaderMap) -> HeaderMap {
    propagation::inject(&mut carried);
    carried
}

fn is_forwarded(name: &HeaderName, value: &HeaderValue) -> bool {
    let limit = if *name == REQUEST_ID { MAX_REQUEST_ID_BYTES } else { MAX_VALUE_BYTES };
    (1..=limit).contains(&value.len()) && value.to_str().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(values: &[(&'static str, &[u8])]) -> HeaderMap {
        let value = |value: &[u8]| HeaderValue::from_bytes(value).unwrap();
        values.iter().map(|(name, bytes)| (HeaderName::from_static(name), value(bytes))).collect()
    }

    #[test]
    fn long_and_unprintable_trace_headers_are_not_forwarded() {
        let (state, id) = ("k=".to_owned() + &"v".repeat(1022), "i".repeat(64));
        let forwarded = headers(&[
            ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("tracestate", state.as_bytes()),
            ("x-request-id", id.as_bytes()),
        ]);
        assert_eq!(carried(&forwarded), forwarded);

        let (baggage, id) = (state + "v", id + "i");
        let dropped = headers(&[
            ("baggage", baggage.as_bytes()),
            ("x-request-id", id.as_bytes()),
            ("b3", b"\xff"),
            ("x-b3-flags", b""),
            ("cookie", b"featureflag=on"),
        ]);
        assert_eq!(carried(&dropped), HeaderMap::new());
    }

    #[test]
    fn a_long_trace_state_is_not_part_of_the_context() {
        let mut request = headers(&[
            ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("tracestate", &[b'x'; 1025]),
        ]);
        let id = enter(&mut request, &Span::none());
        if cfg!(feature = "otlp") {
            assert_eq!(id, "0af7651916cd43dd8448eb211c80319c");
        }
        assert_eq!(request.get("tracestate"), None);
    }

    #[test]
    fn a_long_request_id_is_replaced() {
        let mut request = headers(&[("x-request-id", &[b'i'; 65])]);
        let id = enter(&mut request, &Span::none());
        assert_eq!((id.len(), request["x-request-id"].as_bytes()), (36, id.as_bytes()));
    }

    proptest! {
        #[test]
        fn no_client_makes_a_call_that_the_other_service_rejects(
            values in prop::collection::vec((0..10_usize, prop::collection::vec(b'!'..=b'~', 0..3000)), 0..30)
        ) {
            let mut request = HeaderMap::new();
            for (name, value) in values {
                request.append(FORWARDED[name].clone(), HeaderValue::from_bytes(&value).unwrap());
            }
            let forwarded = carried(&request);
            let bytes: usize = forwarded.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
            prop_assert!(bytes < 15 * 1024, "{}", bytes);
        }
    }
}
