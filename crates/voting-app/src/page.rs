//! The HTML: the poll and the pages that tell of an error. Everything that comes from configuration is escaped.

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use voting_core::{BallotId, Choice};

use crate::App;
use crate::analytics::Results;
use crate::routes::assets::{ICON_URL, SCRIPT_URL, STYLE_URL};
use crate::routes::feature_flag::MINUTES as FLAG_MINUTES;

/// The line of results when there are none.
const UNAVAILABLE: &str = "The votes are unavailable right now. You can still vote.";

/// What the page says of the votes, when it is loaded and as it changes.
#[derive(Serialize, ToSchema)]
pub struct Shown<'a> {
    /// The line of results.
    pub text: &'a str,
    /// The votes of each choice, in the order of the poll, if they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<[u64; 2]>,
    /// The release of voting-analytics that summed them up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analytics: Option<&'a str>,
    /// The release of voting-storage that they come from; without results, the one that votes go to.
    pub storage: &'a str,
}

impl<'a> Shown<'a> {
    /// These results, or that there are none.
    pub fn new(app: &App, results: Option<&'a Results>) -> Self {
        Self {
            text: results.map_or(UNAVAILABLE, |results| &results.text),
            counts: results.map(|results| results.counts),
            analytics: results.and_then(|results| results.release("analytics")),
            storage: results
                .and_then(|results| results.release("storage"))
                .unwrap_or(app.release.storage.version),
        }
    }
}

/// The poll.
#[derive(Template)]
#[template(path = "poll.html")]
pub struct PollPage<'a> {
    /// What is served.
    pub app: &'a App,
    /// What it says of the votes.
    pub shown: Shown<'a>,
    /// The ballot that this page casts.
    pub ballot: BallotId,
    /// What became of the form that led here.
    pub notice: Option<String>,
    /// Whether the browser has set the feature flag.
    pub flag_is_on: bool,
}

impl PollPage<'_> {
    fn count(&self, choice: &Choice) -> Option<u64> {
        self.shown.counts.map(|counts| counts[choice.index()])
    }

    /// The length of a bar that is full; never 0, which no bar can have.
    fn total(&self) -> u64 {
        self.shown.counts.map_or(0, |counts| counts[0].saturating_add(counts[1])).max(1)
    }
}

/// A page that tells what is wrong.
#[derive(Template)]
#[template(path = "error.html")]
pub struct ErrorPage<'a> {
    /// What is served.
    pub app: &'a App,
    /// The status, in digits.
    pub status: StatusCode,
    /// What is wrong, in a few words.
    pub title: &'a str,
    /// What that means and what is allowed.
    pub text: &'a str,
    /// The vote that can be sent again.
    pub retry: Option<&'a Retry>,
}

/// A vote that can be sent again.
pub struct Retry {
    /// The choice.
    pub vote: String,
    /// The ballot.
    pub ballot: String,
}

/// What a page may load and do: its own files, its own forms, nothing inline, in no frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page as a response that no cache keeps: its ballot is for one visitor.
pub fn render(page: &impl Template) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    match page.render() {
        Ok(html) => (headers, html).into_response(),
        Err(error) => {
            tracing::error!(%error, "A page could not be rendered.");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
