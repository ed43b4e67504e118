//! What the operator sees: numbers, traces and log lines.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
use serde_json::Value;
use voting_tests::eventually;
use voting_tests::http::{Visitor, send, upstream};
use voting_tests::process::{Service, run};
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::Redis;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const GATEWAY_SPAN: &str = "b7ad6b7169203331";

/// A span as the collector was sent it.
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

/// A collector that keeps what it is sent.
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

/// Both services, with further settings of both, and their logs in a folder.
async fn start(store: &str, settings: &[(&str, &str)], logs: Option<&Path>) -> (Service, Service) {
    let log = |name: &str| logs.map(|folder| folder.join(name));
    let analytics = [&[("RELEASE", "1.1"), ("STORAGE_URL", store)], settings].concat();
    let analytics = Service::start_logged("voting-analytics", &analytics, log("analytics").as_deref()).await;
    let url = analytics.url("");
    let app =
        [&[("RELEASE", "1.0"), ("STORAGE_URL", store), ("ANALYTICS_URL", url.as_str())], settings].concat();
    let app = Service::start_logged("voting-app", &app, log("app").as_deref()).await;
    (app, analytics)
}

/// The one span of this service and name in this trace, when it has come.
async fn span(spans: &Spans, trace: &str, service: &str, name: &str) -> Span {
    let found = || {
        let spans = spans.lock().unwrap();
        let of_it = |span: &&Span| span.trace == trace && span.service == service && span.name == name;
        spans.iter().find(of_it).cloned()
    };
    let what = format!("{service} sends a span {name} of trace {trace}");
    eventually(&what, Duration::from_secs(10), async || found().is_some()).await;
    found().unwrap()
}

#[tokio::test]
async fn one_trace_goes_from_the_gateway_through_app_and_analytics_to_the_store() {
    let redis = Redis::database().await;
    let (endpoint, spans) = collector().await;
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let (app, _analytics) = start(&redis.url(), &settings, None).await;
    let visitor = Visitor::new(app.url(""));

    // A page, in a trace by W3C.
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

    // A vote, in a trace by B3: one header, or several.
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

    // A trace that its beginning did not pick is not sent.
    let unpicked = "00-11111111111111111111111111111111-b7ad6b7169203331-00";
    send(visitor.request("GET", "/").header("traceparent", unpicked)).await;
    send(
        visitor.request("GET", "/").header("traceparent", format!("00-{}-{GATEWAY_SPAN}-01", "2".repeat(32))),
    )
    .await;
    span(&spans, &"2".repeat(32), "voting-analytics", "tally").await;
    assert!(spans.lock().unwrap().iter().all(|span| span.trace != "1".repeat(32)));
}

#[tokio::test]
async fn a_call_goes_out_with_w3c_and_b3_headers_of_its_own_span() {
    let redis = Redis::database().await;
    let (endpoint, spans) = collector().await;
    let seen: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let keep = seen.clone();
    let analytics =
        Router::new().fallback(async move |headers: HeaderMap| keep.lock().unwrap().push(headers));
    let analytics = format!("http://{}", upstream(analytics).await);
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
    let headers = seen.lock().unwrap()[0].clone();
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("traceparent"), Some(format!("00-{TRACE}-{call}-01")));
    assert_eq!(header("b3"), Some(format!("{TRACE}-{call}-1")));
    let several = ["x-b3-traceid", "x-b3-spanid", "x-b3-sampled"].map(header);
    assert_eq!(several, [Some(TRACE.to_owned()), Some(call), Some("1".to_owned())]);
    assert_eq!(header("x-b3-parentspanid"), None);
}

#[tokio::test]
async fn a_call_for_many_is_linked_to_each_and_an_outage_is_an_error_in_the_trace() {
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
    eventually("all 200 votes are in the trace", Duration::from_secs(10), async || {
        let spans = spans.lock().unwrap();
        let casts = spans.iter().filter(|span| span.name == "cast");
        casts.map(|cast| cast.links.len() + 1).sum::<usize>() == 200
    })
    .await;
    assert!(spans.lock().unwrap().iter().any(|span| !span.links.is_empty()), "no two votes shared a call");
    assert!(spans.lock().unwrap().iter().all(|span| span.service == "pets" && !span.is_error));

    proxy.set(Mode::Closed);
    assert_eq!(visitor.post("/", "vote=Cats").await.status, 503);
    eventually("the failed vote is an error", Duration::from_secs(10), async || {
        spans.lock().unwrap().iter().any(|span| span.name == "POST /" && span.is_error)
    })
    .await;
}

#[tokio::test]
async fn a_collector_that_is_away_costs_no_vote_and_no_slow_end() {
    let redis = Redis::database().await;
    let nobody = format!("http://127.0.0.1:{}", voting_tests::free_port());
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", nobody.as_str()), ("SHUTDOWN_WAIT", "0")];
    let (mut app, _analytics) = start(&redis.url(), &settings, None).await;
    Visitor::new(app.url("")).vote("Cats").await;
    app.signal(voting_tests::process::Signal::Terminate);
    let ended = tokio::time::timeout(Duration::from_secs(5), app.wait()).await.expect("it does not leave");
    assert!(ended.success());
}

#[tokio::test]
async fn what_opentelemetry_or_the_log_can_not_use_stops_the_start_in_one_line() {
    for (name, value, allowed) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "http://HOST:PORT"),
        ("OTEL_TRACES_EXPORTER", "jaeger", "otlp, none"),
        ("RUST_LOG", "voting=loud", "error, warn, info, debug, trace"),
    ] {
        let ended = run("voting-app", &["--port", "0", "--admin-port", "0"], &[(name, value)]).await;
        assert!(!ended.success && ended.stdout.is_empty());
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains(name) && ended.stderr.contains(allowed), "{}", ended.stderr);
    }
}

fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn requests(log: &Path) -> Vec<Value> {
    lines(log).into_iter().filter(|line| line["target"] == "voting_http::observe").collect()
}

#[tokio::test]
async fn each_request_is_one_line_of_json_that_can_be_found_by_its_trace() {
    let redis = Redis::database().await;
    let logs = tempfile::tempdir().unwrap();
    let (app, analytics) = start(&redis.url(), &[], Some(logs.path())).await;
    let visitor = Visitor::new(app.url(""));
    send(visitor.request("GET", "/").header("traceparent", format!("00-{TRACE}-{GATEWAY_SPAN}-00"))).await;
    send(visitor.request("GET", "/").header("x-request-id", "of-the-gateway")).await;
    visitor.get("/").await;
    visitor.get("/no-such-page?secret=1").await;
    visitor.vote("Cats").await;

    let [of_app, of_analytics] =
        [requests(&logs.path().join("app")), requests(&logs.path().join("analytics"))];
    let seen: Vec<_> = of_app
        .iter()
        .map(|line| {
            (line["method"].as_str().unwrap(), line["path"].as_str().unwrap(), line["status"].as_u64())
        })
        .collect();
    let expected = [
        ("GET", "/", 200),
        ("GET", "/", 200),
        ("GET", "/", 200),
        ("GET", "/no-such-page", 404),
        ("POST", "/", 303),
    ];
    assert_eq!(seen, expected.map(|(method, path, status)| (method, path, Some(status))));
    for line in &of_app {
        assert_eq!(
            (&line["level"], &line["component"], &line["release"]),
            (&"INFO".into(), &"voting-app".into(), &"1.0".into())
        );
        assert!(line["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0 && seconds < 10.0), "{line}");
        assert!(line["timestamp"].is_string(), "{line}");
    }
    let ids = |lines: &[Value]| {
        lines.iter().map(|line| line["trace_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&of_app)[..2], [TRACE, "of-the-gateway"]);
    assert!(ids(&of_app)[2..].iter().all(|id| id.len() == 36), "{of_app:?}");
    // What analytics was asked for has the id of the page.
    assert_eq!(ids(&of_analytics), ids(&of_app)[..3]);
    drop((app, analytics));
}

#[tokio::test]
async fn the_log_is_text_or_silent_when_asked() {
    let redis = Redis::database().await;
    let logs = tempfile::tempdir().unwrap();
    let (app, _analytics) = start(&redis.url(), &[("LOG_FORMAT", "text")], Some(logs.path())).await;
    Visitor::new(app.url("")).get("/").await;
    let text = std::fs::read_to_string(logs.path().join("app")).unwrap();
    let line = text.lines().find(|line| line.contains("A request was answered.")).unwrap();
    for field in [r#"method="GET""#, r#"path="/""#, "status=200", "trace_id="] {
        assert!(line.contains(field), "{field}: {line:?}");
    }
    assert!(!line.contains('\u{1b}'), "{line:?}");

    let logs = tempfile::tempdir().unwrap();
    let (app, _analytics) = start(&redis.url(), &[("RUST_LOG", "warn")], Some(logs.path())).await;
    Visitor::new(app.url("")).get("/").await;
    assert_eq!(std::fs::read_to_string(logs.path().join("app")).unwrap(), "");
}

/// The value of a series, named as it stands in the text.
fn value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[tokio::test]
async fn votes_calls_and_viewers_are_counted() {
    let redis = Redis::database().await;
    let proxy = Proxy::start(redis.address(), Mode::Open).await;
    let store = redis.url_at(proxy.address());
    let (app, analytics) = start(&store, &[], None).await;
    let visitor = Visitor::new(app.url(""));
    let admin = Visitor::new(app.admin_url(""));
    let labels = |rest: &str| format!("{{component=\"voting-app\",release=\"1.0\"{rest}}}");
    let votes = |choice: &str, outcome: &str| {
        format!("voting_votes_total{}", labels(&format!(",choice=\"{choice}\",outcome=\"{outcome}\"")))
    };

    // Every series of votes is there before the first one.
    let metrics = admin.get("/metrics").await.text;
    for outcome in ["counted", "already-counted", "refused", "unconfirmed"] {
        assert_eq!(value(&metrics, &votes("Cats", outcome)), Some(0.0), "{metrics}");
    }

    let form = format!("vote=Cats&ballot={}", visitor.get("/").await.ballot());
    visitor.post("/", &form).await;
    visitor.post("/", &form).await;
    visitor.vote("Dogs").await;
    visitor.post("/", "vote=Birds").await;
    let viewer = visitor.request("GET", "/events").send().await.unwrap();
    let metrics = admin.get("/metrics").await.text;
    for (series, expected) in [
        (votes("Cats", "counted"), 1.0),
        (votes("Cats", "already-counted"), 1.0),
        (votes("Dogs", "counted"), 1.0),
        (votes("", "invalid"), 1.0),
        (format!("voting_viewers{}", labels("")), 1.0),
        (format!("voting_tally_votes{}", labels(",choice=\"Cats\"")), 1.0),
        (format!("voting_tally_votes{}", labels(",choice=\"Dogs\"")), 1.0),
        (format!("voting_store_connections{}", labels("")), 2.0),
        (format!("voting_store_waiting{}", labels(",operation=\"cast\"")), 0.0),
        (
            format!(
                "voting_store_call_duration_seconds_count{}",
                labels(",operation=\"cast\",outcome=\"ok\"")
            ),
            3.0,
        ),
        (format!("voting_store_group_size_sum{}", labels(",operation=\"cast\"")), 3.0),
        (
            format!(
                "http_request_duration_seconds_count{}",
                labels(",method=\"POST\",route=\"/\",status=\"303\"")
            ),
            3.0,
        ),
        (
            format!(
                "http_request_duration_seconds_count{}",
                labels(",method=\"POST\",route=\"/\",status=\"422\"")
            ),
            1.0,
        ),
    ] {
        assert_eq!(value(&metrics, &series), Some(expected), "{series}\n{metrics}");
    }
    drop(viewer);
    eventually("the viewer is no longer counted", Duration::from_secs(5), async || {
        value(&admin.get("/metrics").await.text, &format!("voting_viewers{}", labels(""))) == Some(0.0)
    })
    .await;

    // Both away.
    proxy.set(Mode::Closed);
    drop(analytics);
    let answer = visitor.post("/", "vote=Dogs").await;
    assert_eq!(answer.status, 503);
    visitor.get("/").await;
    let metrics = admin.get("/metrics").await.text;
    // Unconfirmed if the connection was cut under the vote.
    let outcome = answer.header("x-vote-outcome");
    assert!(["refused", "unconfirmed"].contains(&outcome), "{outcome}");
    assert_eq!(value(&metrics, &votes("Dogs", outcome)), Some(1.0), "{metrics}");
    let failed = format!("voting_analytics_call_duration_seconds_count{}", labels(",outcome=\"failed\""));
    assert!(value(&metrics, &failed) >= Some(1.0), "{metrics}");
    let away = format!(
        "voting_store_call_duration_seconds_count{}",
        labels(",operation=\"connect\",outcome=\"unavailable\"")
    );
    assert!(value(&metrics, &away) >= Some(1.0), "{metrics}");
    assert!(!metrics.contains("voting_tally_votes{"), "an old tally is shown:\n{metrics}");
    assert_eq!(value(&metrics, &format!("voting_store_connections{}", labels(""))), Some(0.0), "{metrics}");
}

#[tokio::test]
async fn what_visitors_make_up_makes_no_new_series() {
    let redis = Redis::database().await;
    let (app, _analytics) = start(&redis.url(), &[], None).await;
    let visitor = Visitor::new(app.url(""));
    let series = async || {
        let metrics = Visitor::new(app.admin_url("")).get("/metrics").await.text;
        metrics.lines().filter(|line| line.contains("route=") && line.contains("_count")).count()
    };
    visitor.get("/made-up").await;
    send(visitor.request("BREW", "/made-up")).await;
    let before = series().await;
    for number in 0..20 {
        visitor.get(&format!("/made-up-{number}?x={number}")).await;
        send(visitor.request(&format!("BREW{number}"), "/made-up")).await;
        visitor.get(&format!("/assets/{number}/x")).await;
        visitor.post(&format!("/featureflag/{number}"), "").await;
        visitor.post("/", format!("vote=Birds{number}")).await;
    }
    // The three routes that were new.
    assert_eq!(series().await, before + 3);
}
