//! The progress of a load on the standard error: a bar on a terminal, otherwise a line every ten seconds.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_util::task::AbortOnDropHandle;

use crate::plan::Progress;

/// Shows the progress until the handle is dropped. The number of ballots is `None` if the load has none.
pub fn show(progress: Progress, ballots: Option<u64>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        // A ballot is cast, then audited.
        let bar =
            ProgressBar::with_draw_target(ballots.map(|ballots| 2 * ballots), ProgressDrawTarget::stderr());
        let template = match ballots {
            Some(_) => "{elapsed_precise} {wide_bar} {pos}/{len} cast and audited, {per_sec}",
            None => "{elapsed_precise} {spinner} {pos} cast and audited, {per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let is_terminal = std::io::stderr().is_terminal();
        let (start, mut last) = (Instant::now(), 0);
        for second in 1_u64.. {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let (cast, audited) = (progress.cast(), progress.audited());
            bar.set_position(cast + audited);
            if !is_terminal && second.is_multiple_of(10) {
                let seconds = start.elapsed().as_secs();
                let rate = (cast - last) as f64 / 10.0;
                let of = ballots.map_or_else(String::new, |ballots| format!(" of {ballots}"));
                // Nowhere to report a failed write to the standard error.
                let _ = writeln!(
                    std::io::stderr(),
                    "{seconds} s: {cast}{of} ballots cast, {rate:.1}/s; {audited} audited"
                );
                last = cast;
            }
        }
    }))
}
