//! The log, and the export of traces.
//!
//! Traces go to a collector by OTLP over HTTP when the standard variables ask for it: `OTEL_EXPORTER_OTLP_ENDPOINT` or
//! `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, or `OTEL_TRACES_EXPORTER=otlp` for one on this machine. `OTEL_SERVICE_NAME`,
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and the others of the SDK hold as well.

use std::env;
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Metadata;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use crate::config::LogFormat;
use crate::json_log::JsonLog;

/// What is logged unless `RUST_LOG` says otherwise: what matters to the operator, and a line for each request.
pub const DEFAULT_LOG: &str = "info";
/// The same without a line for each request.
pub const QUIET_LOG: &str = "info,voting_http::observe=warn";

/// How long the last spans may take to leave.
const FLUSH: Duration = Duration::from_secs(2);

/// What was started; ends with [`Telemetry::finish`].
#[must_use]
#[derive(Debug)]
pub struct Telemetry(Option<SdkTracerProvider>);

/// Starts the log of a program, and the export of its traces if the environment asks for it.
///
/// # Errors
/// One line: a variable of OpenTelemetry holds what can't be used here.
pub fn start(
    component: &'static str,
    release: &'static str,
    format: LogFormat,
    default_log: &str,
) -> anyhow::Result<Telemetry> {
    let filter = match env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => {
            EnvFilter::try_new(&filter).with_context(|| format!("RUST_LOG: {filter:?} is not a log filter; allowed: a level (error, warn, info, debug, trace), or TARGET=LEVEL, separated by commas"))?
        }
        _ => EnvFilter::new(default_log),
    };
    let log: Box<dyn Layer<Registry> + Send + Sync> = if is_json(format) {
        JsonLog::new().context("the standard output")?.boxed()
    } else {
        tracing_subscriber::fmt::layer().with_ansi(std::io::stdout().is_terminal()).boxed()
    };
    let provider =
        if exports_traces(|name| env::var(name).ok())? { Some(provider(component, release)?) } else { None };
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_location(false)
            .with_threads(false)
            .with_tracer(provider.tracer(component))
            .with_filter(filter_fn(belongs_to_traces).and(LevelFilter::DEBUG))
    });
    // The log of a program is started once; a second start, in a test, changes nothing.
    let _ = tracing_subscriber::registry().with(log.with_filter(filter)).with(traces).try_init();
    Ok(Telemetry(provider))
}

impl Telemetry {
    /// Sends the spans that wait, for a bounded time.
    pub fn finish(self) {
        if let Some(provider) = self.0
            && let Err(error) = provider.shutdown_with_timeout(FLUSH)
        {
            tracing::warn!(%error, "The last spans did not reach the collector.");
        }
    }
}

fn is_json(format: LogFormat) -> bool {
    match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stdout().is_terminal(),
    }
}

/// Our spans, and what is logged in them.
fn belongs_to_traces(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("voting_")
        && (metadata.is_span() || *metadata.level() <= tracing::Level::INFO)
}

fn provider(component: &'static str, release: &'static str) -> anyhow::Result<SdkTracerProvider> {
    let exporter =
        SpanExporter::builder().with_http().build().context("OTEL_EXPORTER_OTLP_ENDPOINT: can't be used")?;
    let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", release));
    if env::var("OTEL_SERVICE_NAME").is_err() {
        resource = resource.with_service_name(component);
    }
    let mut provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
    if env::var("OTEL_SPAN_LINK_COUNT_LIMIT").is_err() {
        // A call for a group is linked to each vote of it.
        provider = provider.with_max_links_per_span(512);
    }
    Ok(provider.build())
}

/// Whether these variables ask for an export.
fn exports_traces(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<bool> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    let endpoint = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
        .into_iter()
        .find_map(|name| Some((name, variable(name)?)));
    match (variable("OTEL_TRACES_EXPORTER").as_deref(), &endpoint) {
        (None, None) | (Some("none"), _) => return Ok(false),
        (None, Some(_)) | (Some("otlp"), _) => {}
        (Some(other), _) => bail!("OTEL_TRACES_EXPORTER: {other:?} is not known here; allowed: otlp, none"),
    }
    // In a mesh, TLS is the mesh's work.
    if let Some((name, endpoint)) = endpoint
        && !endpoint.starts_with("http://")
    {
        bail!("{name}: is not a URL that can be used; allowed: http://HOST:PORT");
    }
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        match variable(name).as_deref() {
            None | Some("http/protobuf") => {}
            Some(other) => bail!("{name}: {other:?} is not spoken here; allowed: http/protobuf"),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(variables: &[(&str, &str)]) -> anyhow::Result<bool> {
        exports_traces(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn traces_are_exported_only_when_asked_for() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert!(!asked(&[]).unwrap());
        assert!(!asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap());
        assert!(asked(&[endpoint]).unwrap());
        assert!(asked(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap());
        assert!(!asked(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).unwrap());
        assert!(!asked(&[endpoint, ("OTEL_SDK_DISABLED", "true")]).unwrap());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let refused = |name, value| {
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
            asked(&[(name, value), endpoint]).unwrap_err().to_string()
        };
        assert_eq!(
            refused("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            "OTEL_EXPORTER_OTLP_PROTOCOL: \"grpc\" is not spoken here; allowed: http/protobuf"
        );
        assert_eq!(
            refused("OTEL_TRACES_EXPORTER", "zipkin"),
            "OTEL_TRACES_EXPORTER: \"zipkin\" is not known here; allowed: otlp, none"
        );
        // It may have a password, so it is not repeated.
        assert_eq!(
            refused("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://user:secret@collector"),
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: is not a URL that can be used; allowed: http://HOST:PORT"
        );
    }
}
