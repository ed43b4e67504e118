//! The steps of the tutorial.

/// A step, as it is when its commands have been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// App 1.0, analytics 1.0, storage 1.0.
    Deploy,
    /// Analytics 1.1 beside 1.0; `locked` when the routing rules are there too.
    Update {
        /// Everything goes to 1.1.
        locked: bool,
    },
    /// Release 2.0 for those who set the flag.
    Canary,
    /// Release 2.0 for everybody, with the votes of 1.0.
    Finalize,
}

impl Step {
    /// What a new user sees: the address, and what to try.
    pub fn banner(self, address: &str) -> String {
        let (name, what) = match self {
            Self::Deploy => ("1, deploy", "Release 1.0: the summary has plain counts."),
            Self::Update { locked: false } => (
                "2, update",
                "Analytics 1.0 and 1.1 take turns: load the page again to see the summary change. With --locked only 1.1 is called.",
            ),
            Self::Update { locked: true } => (
                "2, update and lock",
                "Only analytics 1.1 is called: the summary has totals and percentages.",
            ),
            Self::Canary => (
                "3, canary",
                "Vote, then switch the feature flag on at the foot of the page: this browser moves to release 2.0, which has a tally of its own. Switch it off to return.",
            ),
            Self::Finalize => ("4, finalize", "Release 2.0 for everybody, with the votes of 1.0."),
        };
        let watch = format!("curl -si {address} | grep results");
        format!(
            "Step {name}: {address}\n  {what}\n  In a terminal: {watch}\n  Other steps: --step 1|2|3|4. Ctrl-C ends it; the votes are kept."
        )
    }
}
