//! `POST /`: a vote, or a reset of the poll.

use std::time::SystemTime;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use voting_storage::{Ballot, Cast};

use crate::App;
use crate::error::AppError;
use crate::form::Form;

/// What became of the vote, for programs: `counted`, `already-counted`, `refused` (not counted, and never will be)
/// or `unconfirmed` (the same ballot again settles it).
pub static OUTCOME: HeaderName = HeaderName::from_static("x-vote-outcome");

/// Counts a vote, then redirects to the page: 303 means that it is stored.
pub(super) async fn cast(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    accept(&app, &headers, body).await.unwrap_or_else(|error| error.into_page(&app))
}

async fn accept(
    app: &App,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, AppError> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => AppError::BodyTooLarge,
        _ => AppError::BodyTooSlow,
    })?;
    let form = Form::parse(headers, &body, &app.choices, SystemTime::now()).map_err(AppError::Form)?;
    match form {
        Form::Vote(ballot) => vote(app, ballot).await,
        Form::Reset if app.features.allow_reset => reset(app).await,
        Form::Reset => Err(AppError::ResetForbidden),
    }
}

async fn vote(app: &App, ballot: Ballot) -> Result<Response, AppError> {
    let choice = app.choices.name(ballot.category).as_str();
    match app.store.cast(ballot).await {
        Ok(cast) => {
            let outcome = match cast {
                Cast::Counted => "counted",
                Cast::AlreadyCounted => "already-counted",
            };
            app.metrics.count_vote(choice, outcome);
            Ok(([(OUTCOME.clone(), outcome)], Redirect::to("/")).into_response())
        }
        Err(error) => {
            app.metrics.count_vote(choice, "failed");
            Err(AppError::Vote(ballot, error))
        }
    }
}

async fn reset(app: &App) -> Result<Response, AppError> {
    app.store.reset().await.map_err(AppError::Reset)?;
    tracing::info!("The poll was reset.");
    Ok(Redirect::to("/").into_response())
}
