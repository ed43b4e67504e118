//! The log.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts the log of a program, once. `RUST_LOG` sets what is logged; by default what matters to the operator.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stdout().is_terminal(),
    };
    // The log of a program is started once; a second start, in a test, changes nothing.
    let _ = if json { log.json().flatten_event(true).try_init() } else { log.try_init() };
}
