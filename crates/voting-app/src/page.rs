//! The HTML: the poll and the pages that tell of an error. Everything that comes from configuration is escaped.

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use voting_storage::{BallotId, Category};

use crate::App;
use crate::analytics::Results;
use crate::routes::assets::{ICON_URL, SCRIPT_URL, STYLE_URL};

/// The poll.
#[derive(Template)]
#[template(path = "poll.html")]
pub struct PollPage<'a> {
    /// What is served.
    pub app: &'a App,
    /// The results, if there are any.
    pub results: Option<&'a Results>,
    /// The ballot that this page casts.
    pub ballot: BallotId,
    /// Whether the browser has set the feature flag.
    pub flag_is_on: bool,
}

impl PollPage<'_> {
    /// The line of results: the whole text, or that there is none.
    fn line(&self) -> &str {
        self.results
            .map_or("The votes are unavailable right now. You can still vote.", |results| &results.text)
    }

    fn count(&self, category: &Category) -> Option<u64> {
        self.results.map(|results| results.counts[category.index()])
    }

    /// The length of a bar that is full; never 0, which no bar can have.
    fn total(&self) -> u64 {
        self.results.map_or(0, |results| results.counts[0].saturating_add(results.counts[1])).max(1)
    }
}

/// A page that tells what is wrong.
#[derive(Template)]
#[template(path = "error.html")]
pub struct ErrorPage<'a> {
    /// What is served.
    pub app: &'a App,
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

/// A page as a response that no cache keeps: its ballot is for one visitor.
pub fn render(page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => {
            ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], html)
                .into_response()
        }
        Err(error) => {
            tracing::error!(%error, "A page could not be rendered.");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
