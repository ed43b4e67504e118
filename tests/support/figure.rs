//! What tests measure.

use std::fmt::Display;

/// Prints what a test measured, as `docs/reliability.md` has it; `--nocapture` shows it.
pub fn figure(case: &str, measured: impl Display) {
    println!("{case}: {measured}");
}
