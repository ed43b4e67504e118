//! The steps of the tutorial.

/// The state after the commands of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// App 1.0, analytics 1.0, storage 1.0.
    Deploy,
    /// Analytics 1.1 beside 1.0.
    Update {
        /// The routing rules send everything to 1.1.
        locked: bool,
    },
    /// Release 2.0 for browsers with the flag.
    Canary,
    /// Release 2.0 for everyone, with the votes of 1.0.
    Finalize,
}

impl Step {
    /// The text shown at start-up: the address, and what to try.
    pub fn banner(self, address: &str) -> String {
        let (name, hint) = match self {
            Self::Deploy => ("1, deploy", "Release 1.0: the summary shows plain counts."),
            Self::Update { locked: false } => (
                "2, update",
                "Analytics 1.0 and 1.1 take turns: reload the page to see the summary change. With --locked, only 1.1 is called.",
            ),
            Self::Update { locked: true } => (
                "2, update and lock",
                "Only analytics 1.1 is called: the summary shows totals and percentages.",
            ),
            Self::Canary => (
                "3, canary",
                "Vote, then switch on the feature flag in the footer of the page: this browser moves to release 2.0, which keeps a separate tally. Switch it off to return.",
            ),
            Self::Finalize => ("4, finalize", "Release 2.0 for everyone, with the votes of 1.0."),
        };
        let watch = format!("curl -si {address} | grep results");
        format!(
            "Step {name}: {address}\n  {hint}\n  In a terminal: {watch}\n  A picture of where requests go: {address}/split\n  Other steps: --step 1|2|3|4. Press Ctrl-C to stop; the votes are kept."
        )
    }
}
