//! The setting of the log.

use std::env::{self, VarError};

use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::setting::InvalidSetting;

/// The filter of the log: `RUST_LOG`, or this default if it is unset or empty.
///
/// # Errors
/// [`InvalidSetting`]: the value is not a filter.
pub fn log_filter(default: &str) -> Result<Targets, InvalidSetting> {
    let invalid = |filter: &str| {
        let allowed = "a level (off, error, warn, info, debug, trace), or TARGET=LEVEL, separated by commas";
        InvalidSetting::of("RUST_LOG", filter, format!("is not a log filter; allowed: {allowed}"))
    };
    let filter = match env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => filter,
        Err(VarError::NotUnicode(filter)) => return Err(invalid(&filter.to_string_lossy())),
        _ => default.to_owned(),
    };
    // The library takes any other word for a target, and switches everything else off.
    let is_level = |part: &str| part.trim().parse::<LevelFilter>().is_ok();
    if !filter.split(',').all(|part| part.contains('=') || is_level(part)) {
        return Err(invalid(&filter));
    }
    filter.parse().map_err(|_| invalid(&filter))
}
