//! The page of an error that a route, a fallback or a layer returned.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use voting_http::retry::FINAL;

use crate::app::App;
use crate::base::Base;
use crate::error::AppError;
use crate::outcome::{OUTCOME, Outcome};
use crate::page::{ErrorPage, render as render_page};

/// Renders, logs and counts the error attached to a response; other responses pass unchanged.
pub(super) fn render(app: &App, base: &Base, mut response: Response) -> Response {
    let Some(error) = AppError::take_from(&mut response) else { return response };
    error.log();
    let view = error.describe(&app.choices);
    // A ballot that is too old for the store was counted as a vote.
    if view.outcome.is_some_and(Outcome::is_invalid) && !matches!(*error, AppError::Expired) {
        app.metrics.count_invalid();
    }

    let mut page = render_page(&ErrorPage { app, root: base.root(), error: &view });
    if page.status().is_success() {
        *page.status_mut() = view.status;
    }
    let headers = page.headers_mut();
    if let Some(outcome) = view.outcome {
        headers.insert(OUTCOME, HeaderValue::from_static(outcome.header()));
    }
    if view.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        headers.insert(FINAL, HeaderValue::from_static("true"));
    }
    page
}
