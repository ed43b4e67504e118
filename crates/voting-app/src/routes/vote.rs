//! `POST /`: a vote, or a reset of the poll.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::StreamExt as _;
use tokio::time::timeout;
use voting_service::server::MAX_BODY;
use voting_storage::Ballot;

use crate::App;
use crate::error::AppError;
use crate::form::Form;
use crate::metrics::Outcome;

/// What became of the vote, for programs: `counted`, `already-counted`, `refused` (not counted, and never will be)
/// or `unconfirmed` (the same ballot again settles it).
pub static OUTCOME: HeaderName = HeaderName::from_static("x-vote-outcome");

/// How long a form may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(5);

/// Counts a vote, then redirects to the page: 303 means that it is stored.
pub(super) async fn cast(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    accept(&app, &headers, body).await.unwrap_or_else(|error| error.into_page(&app))
}

async fn accept(app: &App, headers: &HeaderMap, body: Body) -> Result<Response, AppError> {
    let body = timeout(FORM_TIMEOUT, read(body)).await.map_err(|_| AppError::BodyTooSlow)??;
    let form = Form::parse(headers, &body, &app.choices, SystemTime::now()).map_err(AppError::Form)?;
    match form {
        Form::Vote(ballot) => vote(app, ballot).await,
        Form::Reset if app.features.allow_reset => reset(app).await,
        Form::Reset => Err(AppError::ResetForbidden),
    }
}

/// The whole body. One that is too large is taken in, up to a bound, and thrown away: a browser that is still sending
/// would not read the answer.
async fn read(body: Body) -> Result<Vec<u8>, AppError> {
    const MAX_DISCARDED: usize = 4 * 1024 * 1024;
    let mut parts = body.into_data_stream();
    let (mut form, mut length) = (Vec::new(), 0);
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| AppError::BodyTooSlow)?;
        length += part.len();
        if length <= MAX_BODY {
            form.extend_from_slice(&part);
        } else if length > MAX_DISCARDED {
            break;
        }
    }
    if length > MAX_BODY { Err(AppError::BodyTooLarge) } else { Ok(form) }
}

async fn vote(app: &App, ballot: Ballot) -> Result<Response, AppError> {
    let open = app.metrics.open_vote(ballot.category);
    let cast = app.store.cast(ballot).await;
    let outcome = cast.as_ref().map_or_else(Outcome::from, |cast| Outcome::from(*cast));
    open.is(outcome);
    cast.map_err(|error| AppError::Vote(ballot, error))?;
    Ok(([(OUTCOME.clone(), outcome.header())], Redirect::to("/")).into_response())
}

async fn reset(app: &App) -> Result<Response, AppError> {
    app.store.reset().await.map_err(AppError::Reset)?;
    tracing::info!("The poll was reset.");
    Ok(Redirect::to("/").into_response())
}
