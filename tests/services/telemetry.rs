//! What the operator sees: log, traces and metrics.

mod log;
mod metrics;
mod trace;

use std::path::Path;
use std::time::Duration;

use voting_tests::process::{Service, Signal, run};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const GATEWAY_SPAN: &str = "b7ad6b7169203331";

/// Starts both services with these additional settings. Their logs go to files in the directory `logs`.
async fn start(store: &str, settings: &[(&str, &str)], logs: Option<&Path>) -> (Service, Service) {
    let log = |name: &str| logs.map(|directory| directory.join(name));
    let analytics = [&[("RELEASE", "1.1"), ("STORAGE_URL", store)], settings].concat();
    let analytics = Service::start_logged("voting-analytics", &analytics, log("analytics").as_deref()).await;
    let url = analytics.url("");
    let app =
        [&[("RELEASE", "1.0"), ("STORAGE_URL", store), ("ANALYTICS_URL", url.as_str())], settings].concat();
    let app = Service::start_logged("voting-app", &app, log("app").as_deref()).await;
    (app, analytics)
}

/// Terminates a service, which must exit in time and without an error.
async fn terminate(mut service: Service) {
    service.signal(Signal::Terminate);
    let status = tokio::time::timeout(Duration::from_secs(5), service.wait()).await;
    assert!(status.expect("the service does not exit").success());
}

#[tokio::test]
async fn an_invalid_telemetry_setting_aborts_the_start_with_one_line() {
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
