//! The HTML of the poll and of errors. The templates escape every value.

use askama::Template;
use axum::response::Response;
use serde::Serialize;
use voting_core::{BallotId, Choice};
use voting_http::page::respond;

use crate::analytics::Results;
use crate::app::App;
use crate::assets::{ICON_URL, SCRIPT_URL, STYLE_URL};
use crate::error::ErrorView;
use crate::feature_flag::MINUTES as FLAG_MINUTES;

/// The line of results while voting-analytics or its store is unavailable.
const UNAVAILABLE: &str = "The votes are unavailable right now. You can still vote.";

/// The results as the page and the event stream show them.
#[derive(Serialize)]
pub struct ResultsView<'a> {
    /// The results in words.
    pub text: &'a str,
    /// The votes of each choice, in the order of the poll; missing while the results are unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<[u64; 2]>,
    /// The release of voting-analytics; missing while the results are unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analytics: Option<&'a str>,
    /// The kinds of faults that voting-analytics injects.
    #[serde(skip)]
    pub analytics_faults: Option<&'a str>,
    /// The release of voting-storage that was read, or while the results are unavailable, the one that votes go to.
    pub storage: &'a str,
}

impl<'a> ResultsView<'a> {
    /// A view of these results; `None` if they are unavailable.
    pub fn new(app: &App, results: Option<&'a Results>) -> Self {
        let path = results.and_then(|results| results.path.as_ref());
        let release = |component| path.and_then(|path| path.release(component));
        Self {
            text: results.map_or(UNAVAILABLE, |results| &results.text),
            counts: results.map(|results| results.counts),
            analytics: release("analytics"),
            analytics_faults: path.and_then(|path| path.faults("analytics")),
            storage: release("storage").unwrap_or(app.release.storage.version),
        }
    }
}

/// The page of the poll.
#[derive(Template)]
#[template(path = "poll.html")]
pub struct PollPage<'a> {
    pub app: &'a App,
    /// What links begin with.
    pub root: String,
    pub results: ResultsView<'a>,
    /// The ballot that the page casts.
    pub ballot: BallotId,
    /// The result of the form that redirected here.
    pub notice: Option<String>,
    pub flag_is_on: bool,
}

impl PollPage<'_> {
    fn count(&self, choice: &Choice) -> Option<u64> {
        self.results.counts.map(|counts| counts[choice.index()])
    }

    /// The maximum of the bars; never 0, which HTML forbids.
    fn total(&self) -> u64 {
        self.results.counts.map_or(0, |counts| counts[0].saturating_add(counts[1])).max(1)
    }
}

/// The page of an error.
#[derive(Template)]
#[template(path = "error.html")]
pub struct ErrorPage<'a> {
    pub app: &'a App,
    /// What links begin with.
    pub root: String,
    pub error: &'a ErrorView,
}

/// Renders a page as a response.
pub fn render(page: &impl Template) -> Response {
    respond(page.render())
}
