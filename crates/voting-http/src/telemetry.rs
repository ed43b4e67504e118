//! Log and traces of a program, from its first statement to its last.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use crate::config::LogFormat;
use crate::json_log::JsonLog;
use crate::log::{self, LogGuard};
use crate::otlp::TraceExport;

/// The log filter of a service unless `RUST_LOG` is set; includes one line per request.
pub const DEFAULT_LOG: &str = "info";
/// [`DEFAULT_LOG`] without the line per request.
pub const QUIET_LOG: &str = "info,voting_http::observe=warn";

/// Log and trace export of this process. Dropping it sends the last spans, then writes the last log lines, each within
/// a bound.
#[must_use = "dropping it ends the log"]
#[derive(Debug)]
pub struct Telemetry {
    // Fields are dropped in this order; ending the export may log.
    _traces: Option<TraceExport>,
    _log: LogGuard,
}

/// Starts the log of a program, and the export of its traces if the environment requests it. Call it before anything
/// that may log.
///
/// # Errors
/// One line: `RUST_LOG` or a variable of OpenTelemetry is invalid.
pub fn start(
    component: &'static str,
    release: &'static str,
    format: LogFormat,
    default_log: &str,
) -> anyhow::Result<Telemetry> {
    let filter = voting_config::log_filter(default_log)?;
    let traces = TraceExport::start(component, release)?;
    let (writer, guard) = log::start().context("the standard output")?;
    let log: Box<dyn Layer<Registry> + Send + Sync> = if is_json(format) {
        JsonLog(writer).boxed()
    } else {
        let is_terminal = std::io::stdout().is_terminal();
        tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(is_terminal).boxed()
    };
    let spans = traces.as_ref().map(TraceExport::layer);
    // Fails if a test of the same process has started a log before, which then stays.
    let _ = tracing_subscriber::registry().with(log.with_filter(filter)).with(spans).try_init();
    Ok(Telemetry { _traces: traces, _log: guard })
}

fn is_json(format: LogFormat) -> bool {
    match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stdout().is_terminal(),
    }
}
