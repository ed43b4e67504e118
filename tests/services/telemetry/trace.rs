//! Traces: their propagation and export.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use prost::Message as _;
use voting_tests::http::{Visitor, send, upstream};
use voting_tests::process::Service;
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::Redis;
use voting_tests::{PATIENCE, eventually};

use super::{GATEWAY_SPAN, TRACE, start, terminate};

/// A span as the collector received it.
#[derive(Clone, Debug)]
struct Span {
    service: String,
    name: String,
    trace: String,
    id: String,
    parent: String,
    links: Vec<String>,
    is_error: bool,
    attributes: Vec<KeyValue>,
}

impl Span {
    fn attribute(&self, key: &str) -> String {
        text(&self.attributes, key)
    }
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// Starts a collector that stores the spans that it receives.
async fn collector() -> (String, Spans) {
    let spans = Spans::default();
    let routes = Router::new().route("/v1/traces", post(collect)).with_state(spans.clone());
    (format!("http://{}", upstream(routes).await), spans)
}

async fn collect(State(spans): State<Spans>, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    for resource in request.resource_spans {
        let service = text(&resource.resource.unwrap_or_default().attributes, "service.name");
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.lock().unwrap().push(Span {
                service: service.clone(),
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
                is_error: span.status.is_some_and(|status| status.code == 2),
                attributes: span.attributes,
            });
        }
    }
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value =
        attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.clone());
    match value {
        Some(AnyValue { value: Some(any_value::Value::StringValue(text)) }) => text,
        Some(AnyValue { value: Some(any_value::Value::IntValue(number)) }) => number.to_string(),
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits for the span of this name, service and trace.
async fn span(spans: &Spans, trace: &str, service: &str, name: &str) -> Span {
    let found = || {
        let spans = spans.lock().unwrap();
        let is_match = |span: &&Span| span.trace == trace && span.service == service && span.name == name;
        spans.iter().find(is_match).cloned()
    };
    let event = format!("{service} exports span {name} of trace {trace}");
    eventually(&event, PATIENCE, async || found().is_some()).await;
    found().unwrap()
}

/// Starts an upstream that stores the headers of the requests that it receives.
async fn recording_upstream() -> (String, Arc<Mutex<Vec<HeaderMap>>>) {
    let received: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let recorder = received.clone();
    let routes =
        Router::new().fallback(async move |headers: HeaderMap| recorder.lock().unwrap().push(headers));
    (format!("http://{}", upstream(routes).await), received)
}

#[tokio::test]
async fn a_page_is_one_trace_from_the_gateway_through_app_and_analytics_to_the_store() {
    let redis = Redis::database().await;
    let (endpoint, spans) = collector().await;
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let (app, analytics) = start(&redis.url(), &settings, None).await;
    let visitor = Visitor::new(app.url(""));
    // Without a connection, there may be no time to ask the store.
    Visitor::new(analytics.url("")).get_served("/analytics").await;

    let traceparent = format!("00-{TRACE}-{GATEWAY_SPAN}-01");
    send(visitor.request("GET", "/").header("traceparent", traceparent)).await;
    let page = span(&spans, TRACE, "voting-app", "GET /").await;
    let call = span(&spans, TRACE, "voting-app", "GET").await;
    let summary = span(&spans, TRACE, "voting-analytics", "GET /analytics").await;
    let tally = span(&spans, TRACE, "voting-analytics", "tally").await;
    let chain = [&page, &call, &summary, &tally].map(|span| span.parent.as_str());
    assert_eq!(chain, [GATEWAY_SPAN, &page.id, &call.id, &summary.id]);
    assert_eq!(page.attribute("http.response.status_code"), "200");
    assert_eq!(page.attribute("http.route"), "/");
    assert_eq!(tally.attribute("db.system.name"), "redis");
}

#[tokio::test]
async fn a_vote_continues_a_b3_trace_of_one_header_or_several() {
    let redis = Redis::database().await;
    let (endpoint, spans) = collector().await;
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let (app, _analytics) = start(&redis.url(), &settings, None).await;
    let visitor = Visitor::new(app.url(""));

    for (trace, headers) in [
        (
            "80f198ee56343ba864fe8b2a57d3eff7",
            vec![("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1")],
        ),
        (
            "463ac35c9f6413ad48485a3953bb6124",
            vec![
                ("x-b3-traceid", "463ac35c9f6413ad48485a3953bb6124"),
                ("x-b3-spanid", "e457b5a2e4d86bd1"),
                ("x-b3-sampled", "1"),
            ],
        ),
    ] {
        let mut request = visitor
            .request("POST", "/")
            .header("content-type", "application/x-www-form-urlencoded")
            .body("vote=Cats");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        assert_eq!(send(request).await.status, 303);
        let vote = span(&spans, trace, "voting-app", "POST /").await;
        let cast = span(&spans, trace, "voting-app", "cast").await;
        assert_eq!([&vote.parent, &cast.parent], ["e457b5a2e4d86bd1", &vote.id]);
    }
}

#[tokio::test]
async fn a_trace_that_was_not_sampled_is_not_exported() {
    let redis = Redis::database().await;
    let (endpoint, spans) = collector().await;
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let (app, _analytics) = start(&redis.url(), &settings, None).await;
    let visitor = Visitor::new(app.url(""));

    let unsampled = "00-11111111111111111111111111111111-b7ad6b7169203331-00";
    send(visitor.request("GET", "/").header("traceparent", unsampled)).await;
    send(
        visitor.request("GET", "/").header("traceparent", format!("00-{}-{GATEWAY_SPAN}-01", "2".repeat(32))),
    )
    .await;
    span(&spans, &"2".repeat(32), "voting-analytics", "tally").await;
    assert!(spans.lock().unwrap().iter().all(|span| span.trace != "1".repeat(32)));
}

#[tokio::test]
async fn a_call_is_sent_with_w3c_and_b3_headers_of_its_own_span() {
    let redis = Redis::database().await;
    let (endpoint, spans) = collector().await;
    let (analytics, received) = recording_upstream().await;
    let settings = [
        ("STORAGE_URL", &*redis.url()),
        ("ANALYTICS_URL", &analytics),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let app = Service::start("voting-app", &settings).await;
    let b3 = format!("{TRACE}-{GATEWAY_SPAN}-1");
    send(
        Visitor::new(app.url(""))
            .request("GET", "/")
            .header("b3", b3)
            .header("x-b3-parentspanid", "1".repeat(16)),
    )
    .await;

    let call = span(&spans, TRACE, "voting-app", "GET").await.id;
    let headers = received.lock().unwrap()[0].clone();
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("traceparent"), Some(format!("00-{TRACE}-{call}-01")));
    assert_eq!(header("b3"), Some(format!("{TRACE}-{call}-1")));
    let several = ["x-b3-traceid", "x-b3-spanid", "x-b3-sampled"].map(header);
    assert_eq!(several, [Some(TRACE.to_owned()), Some(call), Some("1".to_owned())]);
    assert_eq!(header("x-b3-parentspanid"), None);
}

#[tokio::test]
async fn oversized_trace_headers_of_a_client_are_not_forwarded() {
    let redis = Redis::database().await;
    let store = redis.url();
    let (collector, _spans) = collector().await;
    let (analytics, received) = recording_upstream().await;
    for export in [vec![], vec![("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str())]] {
        let settings = [&[("STORAGE_URL", store.as_str()), ("ANALYTICS_URL", &analytics)], &*export].concat();
        let app = Service::start("voting-app", &settings).await;
        let request = Visitor::new(app.url(""))
            .request("GET", "/")
            .header("traceparent", format!("00-{TRACE}-{GATEWAY_SPAN}-01"))
            .header("tracestate", format!("k={}", "v".repeat(1100)))
            .header("baggage", format!("k={}", "v".repeat(8000)))
            .header("x-request-id", "i".repeat(65));
        send(request).await;

        let headers = received.lock().unwrap().pop().unwrap();
        assert!(headers["traceparent"].to_str().unwrap().starts_with(&format!("00-{TRACE}-")), "{headers:?}");
        for name in ["baggage", "x-request-id"] {
            assert!(!headers.contains_key(name), "{name}: {headers:?}");
        }
        // With an exporter the header is sent, but empty.
        assert!(headers.get("tracestate").is_none_or(|state| state.is_empty()), "{headers:?}");
    }
}

#[tokio::test]
async fn a_batch_is_linked_to_each_of_its_requests_and_an_outage_is_an_error_in_the_trace() {
    let redis = Redis::database().await;
    let proxy = Proxy::start(redis.address(), Mode::Open).await;
    let store = redis.url_at(proxy.address());
    let (endpoint, spans) = collector().await;
    let settings = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*format!("{endpoint}/v1/traces")),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_SERVICE_NAME", "pets"),
    ];
    let (app, _analytics) = start(&store, &settings, None).await;
    let visitor = Visitor::new(app.url(""));

    let votes: Vec<_> = (0..200)
        .map(|_| {
            let visitor = visitor.clone();
            tokio::spawn(async move { visitor.vote("Dogs").await })
        })
        .collect();
    for vote in votes {
        vote.await.unwrap();
    }
    eventually("all 200 votes are in the trace", PATIENCE, async || {
        let spans = spans.lock().unwrap();
        let casts = spans.iter().filter(|span| span.name == "cast");
        casts.map(|cast| cast.links.len() + 1).sum::<usize>() == 200
    })
    .await;
    assert!(spans.lock().unwrap().iter().any(|span| !span.links.is_empty()), "no two votes shared a batch");
    assert!(spans.lock().unwrap().iter().all(|span| span.service == "pets" && !span.is_error));

    proxy.set(Mode::Closed);
    assert_eq!(visitor.post("/", "vote=Cats").await.status, 503);
    eventually("the failed vote is an error", PATIENCE, async || {
        spans.lock().unwrap().iter().any(|span| span.name == "POST /" && span.is_error)
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_collector_costs_no_vote_and_no_slow_shutdown() {
    let redis = Redis::database().await;
    let unreachable = format!("http://127.0.0.1:{}", voting_tests::free_port());
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", unreachable.as_str()), ("SHUTDOWN_WAIT", "0")];
    let (app, _analytics) = start(&redis.url(), &settings, None).await;
    Visitor::new(app.url("")).vote("Cats").await;
    terminate(app).await;
}
