//! Export of traces by OTLP over HTTP, if the standard variables request it.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` names the collector;
//! `OTEL_TRACES_EXPORTER=otlp` alone means one on this machine. `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
//! `OTEL_TRACES_SAMPLER` and the other variables of the SDK apply, too. A build without the feature `otlp` rejects the
//! request.

use anyhow::bail;
use url::Url;
use voting_config::has_user;

/// The allowed endpoints.
const ENDPOINT: &str =
    "http://HOST:PORT without a user and password (OTEL_EXPORTER_OTLP_HEADERS may hold a token)";

#[cfg(feature = "otlp")]
pub(crate) use enabled::TraceExport;

#[cfg(not(feature = "otlp"))]
pub(crate) use disabled::TraceExport;

#[cfg(feature = "otlp")]
mod enabled {
    use std::env;
    use std::time::Duration;

    use anyhow::anyhow;
    use opentelemetry::KeyValue;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_otlp::SpanExporter;
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::{Metadata, Subscriber};
    use tracing_subscriber::Layer;
    use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
    use tracing_subscriber::registry::LookupSpan;

    use super::ENDPOINT;

    const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

    /// A call for a batch is linked to each of its requests.
    const MAX_LINKS_PER_SPAN: u32 = 512;

    #[derive(Debug)]
    pub(crate) struct TraceExport {
        component: &'static str,
        provider: SdkTracerProvider,
    }

    impl TraceExport {
        pub(crate) fn start(component: &'static str, release: &'static str) -> anyhow::Result<Option<Self>> {
            let Some(requested_by) = super::requested_by(|name| env::var(name).ok())? else {
                return Ok(None);
            };
            let exporter = SpanExporter::builder().with_http().build().map_err(|error| {
                anyhow!("{requested_by}: no exporter can be made ({error}); allowed: {ENDPOINT}")
            })?;
            let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", release));
            if env::var("OTEL_SERVICE_NAME").is_err() {
                resource = resource.with_service_name(component);
            }
            let mut provider =
                SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
            if env::var("OTEL_SPAN_LINK_COUNT_LIMIT").is_err() {
                provider = provider.with_max_links_per_span(MAX_LINKS_PER_SPAN);
            }
            Ok(Some(Self { component, provider: provider.build() }))
        }

        pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
        where
            S: Subscriber + for<'span> LookupSpan<'span>,
        {
            tracing_opentelemetry::layer()
                .with_location(false)
                .with_threads(false)
                .with_tracer(self.provider.tracer(self.component))
                .with_filter(filter_fn(is_ours).and(LevelFilter::DEBUG))
        }
    }

    impl Drop for TraceExport {
        fn drop(&mut self) {
            if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_TIMEOUT) {
                tracing::warn!(%error, "exporting the last spans failed");
            }
        }
    }

    /// The spans of this system and the events in them.
    fn is_ours(metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("voting_")
            && (metadata.is_span() || *metadata.level() <= tracing::Level::INFO)
    }
}

#[cfg(not(feature = "otlp"))]
mod disabled {
    use std::env;

    use anyhow::bail;
    use tracing::Subscriber;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::Identity;

    #[derive(Debug)]
    pub(crate) enum TraceExport {}

    impl TraceExport {
        pub(crate) fn start(_component: &str, _release: &str) -> anyhow::Result<Option<Self>> {
            match super::requested_by(|name| env::var(name).ok())? {
                None => Ok(None),
                Some(name) => bail!("{}", super::unsupported(name)),
            }
        }

        pub(crate) fn layer<S: Subscriber>(&self) -> impl Layer<S> + use<S> {
            Identity::new()
        }
    }
}

/// The error of a build without the feature `otlp`.
#[cfg(not(feature = "otlp"))]
fn unsupported(variable: &str) -> String {
    format!(
        "{variable}: this build can't export traces; allowed: OTEL_TRACES_EXPORTER=none, or a build with the cargo \
         feature \"otlp\""
    )
}

/// The variable that requests an export, if one does.
fn requested_by(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<&'static str>> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let endpoint = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
        .into_iter()
        .find_map(|name| Some((name, variable(name)?)));
    let requested_by = match (variable("OTEL_TRACES_EXPORTER").as_deref(), &endpoint) {
        (None, None) | (Some("none"), _) => return Ok(None),
        (None, Some((name, _))) => *name,
        (Some("otlp"), _) => "OTEL_TRACES_EXPORTER",
        (Some(other), _) => bail!("OTEL_TRACES_EXPORTER: {other:?} is not supported; allowed: otlp, none"),
    };
    // TLS is the mesh's task. The value may contain a password, so it is not repeated.
    if let Some((name, endpoint)) = endpoint
        && !is_endpoint(&endpoint)
    {
        bail!("{name}: (not shown) is not a supported URL; allowed: {ENDPOINT}");
    }
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        match variable(name).as_deref() {
            None | Some("http/protobuf") => {}
            Some(other) => bail!("{name}: {other:?} is not supported; allowed: http/protobuf"),
        }
    }
    Ok(Some(requested_by))
}

/// The exporter's errors, which are logged, repeat the URL.
fn is_endpoint(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| url.scheme() == "http" && url.has_host() && !has_user(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    fn requested(variables: &[(&str, &str)]) -> anyhow::Result<Option<&'static str>> {
        requested_by(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn traces_are_exported_only_on_request() {
        assert_eq!(requested(&[]).unwrap(), None);
        assert_eq!(requested(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap(), None);
        assert_eq!(requested(&[ENDPOINT]).unwrap(), Some(ENDPOINT.0));
        let exporter = "OTEL_TRACES_EXPORTER";
        assert_eq!(requested(&[(exporter, "otlp")]).unwrap(), Some(exporter));
        assert_eq!(requested(&[ENDPOINT, (exporter, "none")]).unwrap(), None);
        assert_eq!(requested(&[ENDPOINT, ("OTEL_SDK_DISABLED", "true")]).unwrap(), None);
    }

    #[test]
    fn an_unsupported_value_is_rejected_with_the_name_of_its_variable() {
        let rejected = |name, value| requested(&[(name, value), ENDPOINT]).unwrap_err().to_string();
        assert_eq!(
            rejected("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            "OTEL_EXPORTER_OTLP_PROTOCOL: \"grpc\" is not supported; allowed: http/protobuf"
        );
        assert_eq!(
            rejected("OTEL_TRACES_EXPORTER", "zipkin"),
            "OTEL_TRACES_EXPORTER: \"zipkin\" is not supported; allowed: otlp, none"
        );
        for url in [
            "https://collector",
            "http://user:secret@collector",
            "http://secret@collector",
            "http://:secret@collector",
        ] {
            let error = rejected("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url);
            assert!(
                error.starts_with(
                    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: (not shown) is not a supported URL; allowed: http://HOST:PORT \
                     without a user and password"
                ),
                "{error}"
            );
        }
    }

    #[cfg(not(feature = "otlp"))]
    #[test]
    fn a_build_without_export_says_so_in_one_line() {
        assert_eq!(
            unsupported("OTEL_TRACES_EXPORTER"),
            "OTEL_TRACES_EXPORTER: this build can't export traces; allowed: OTEL_TRACES_EXPORTER=none, or a build with \
             the cargo feature \"otlp\""
        );
    }
}
