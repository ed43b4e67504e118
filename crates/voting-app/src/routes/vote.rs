//! `POST /`: a vote, or a reset of the poll.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::StreamExt as _;
use tokio::time::timeout;
use utoipa::ToSchema;
use voting_core::{Ballot, Cast};
use voting_http::server::MAX_BODY_BYTES;

use crate::App;
use crate::error::AppError;
use crate::form::Form;
use crate::metrics::Outcome;
use crate::notice::Notice;

/// What became of the vote, for programs: `counted`, `already-counted`, `refused` (not counted, and never will be)
/// or `unconfirmed` (the same ballot again settles it).
pub static OUTCOME: HeaderName = HeaderName::from_static("x-vote-outcome");

/// How long a form may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(5);

/// A vote, or a reset of the poll.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes; Form parses")]
pub(super) struct VoteForm {
    /// A choice of the poll, or `reset` where that is allowed.
    #[schema(example = "Cats")]
    vote: String,
    /// The id that makes the vote count once however often it is sent, not older than a day: a UUID of version 7. Without it
    /// the vote is a new one each time.
    #[schema(format = Uuid)]
    ballot: Option<String>,
}

/// Counts a vote, or resets the poll, then redirects to the page: 303 means that it is stored.
///
/// A retry with the same ballot is safe, whatever became of the first.
#[utoipa::path(
    post,
    path = "/",
    request_body(content = VoteForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (
            status = SEE_OTHER,
            description = "It is stored.",
            headers(
                ("location" = String, description = "The page."),
                ("x-vote-outcome" = String, description = "`counted`, or `already-counted`."),
            ),
        ),
        (status = FORBIDDEN, description = "A form of another site, or a reset where it is switched off.", content_type = "text/html", body = String),
        (status = REQUEST_TIMEOUT, description = "The form did not arrive in time.", content_type = "text/html", body = String),
        (status = PAYLOAD_TOO_LARGE, description = "The form has more than 16 KiB.", content_type = "text/html", body = String),
        (status = UNSUPPORTED_MEDIA_TYPE, description = "Not a form.", content_type = "text/html", body = String),
        (status = UNPROCESSABLE_ENTITY, description = "Not on the poll, or not a ballot; the page says what is allowed.", content_type = "text/html", body = String),
        (
            status = SERVICE_UNAVAILABLE,
            description = "The store is away; the page offers the same ballot again.",
            content_type = "text/html",
            body = String,
            headers(("x-vote-outcome" = String, description = "`refused`: not counted, and never will be. `unconfirmed`: the same ballot again settles it.")),
        ),
    ),
)]
pub(super) async fn cast(State(app): State<App>, request: Request) -> Response {
    let (Parts { headers, .. }, body) = request.into_parts();
    match accept(&app, &headers, body).await {
        Ok((mut response, notice)) => {
            notice.leave(&mut response, &headers);
            response
        }
        Err(error) => error.into_page(&app),
    }
}

async fn accept(app: &App, headers: &HeaderMap, body: Body) -> Result<(Response, Notice), AppError> {
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
        if length <= MAX_BODY_BYTES {
            form.extend_from_slice(&part);
        } else if length > MAX_DISCARDED {
            break;
        }
    }
    if length > MAX_BODY_BYTES { Err(AppError::BodyTooLarge) } else { Ok(form) }
}

async fn vote(app: &App, ballot: Ballot) -> Result<(Response, Notice), AppError> {
    let timer = app.metrics.start_vote(ballot.choice);
    let cast = app.store.cast(ballot).await;
    let outcome = cast.as_ref().map_or_else(Outcome::from, |cast| Outcome::from(*cast));
    timer.record(outcome);
    let notice = match cast {
        Ok(Cast::Counted) => Notice::Counted(ballot.choice),
        Ok(Cast::AlreadyCounted) => Notice::AlreadyCounted,
        Err(error) => return Err(AppError::Vote(ballot, error)),
    };
    Ok((([(OUTCOME.clone(), outcome.header())], Redirect::to("/")).into_response(), notice))
}

async fn reset(app: &App) -> Result<(Response, Notice), AppError> {
    app.store.reset().await.map_err(AppError::Reset)?;
    tracing::info!("The poll was reset.");
    Ok((Redirect::to("/").into_response(), Notice::Reset))
}
