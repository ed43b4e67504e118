//! `POST /`: a vote, or a reset of the poll.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use futures_util::StreamExt as _;
use tokio::time::timeout;
use utoipa::ToSchema;
use voting_core::{Ballot, Cast};

use crate::app::App;
use crate::error::AppError;
use crate::form::Form;
use crate::notice::Notice;
use crate::outcome::{OUTCOME, Outcome};

/// How long a form may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of a form; the page's own has under 500.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// The most bytes that are read of a form that is too large.
const MAX_DISCARDED_BYTES: usize = 4 * 1024 * 1024;

/// A vote, or a reset of the poll.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what Form parses")]
pub(super) struct VoteForm {
    /// A choice of the poll, or `reset` if that is allowed.
    #[schema(example = "Cats")]
    vote: String,
    /// A UUID of version 7, up to a day old. A ballot counts once, however often it is sent; without it, every request
    /// is a new vote.
    #[schema(format = Uuid)]
    ballot: Option<String>,
}

/// Counts a vote or resets the poll, then redirects to the page.
///
/// 303 means that the change is stored. A retry with the same ballot is always safe.
#[utoipa::path(
    post,
    path = "/",
    request_body(content = VoteForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (
            status = SEE_OTHER,
            description = "The change is stored.",
            headers(
                ("location" = String, description = "The page."),
                ("x-vote-outcome" = String, description = "`counted` or `already-counted`."),
            ),
        ),
        (status = FORBIDDEN, description = "A form of another site, or resets are disabled.", content_type = "text/html", body = String),
        (status = REQUEST_TIMEOUT, description = "The form did not arrive in time.", content_type = "text/html", body = String),
        (status = PAYLOAD_TOO_LARGE, description = "The form is larger than 16 KiB.", content_type = "text/html", body = String),
        (status = UNSUPPORTED_MEDIA_TYPE, description = "Not a form.", content_type = "text/html", body = String),
        (status = UNPROCESSABLE_ENTITY, description = "The vote or the ballot is invalid; the page says what is allowed.", content_type = "text/html", body = String),
        (
            status = SERVICE_UNAVAILABLE,
            description = "The store is unavailable; the page offers the same ballot again.",
            content_type = "text/html",
            body = String,
            headers(("x-vote-outcome" = String, description = "`refused`: not counted, and never will be. `unconfirmed`: sending the same ballot again settles it.")),
        ),
    ),
)]
pub(super) async fn cast(State(app): State<App>, request: Request) -> Result<Response, AppError> {
    let (Parts { headers, .. }, body) = request.into_parts();
    let body = timeout(FORM_TIMEOUT, read(body)).await.map_err(|_| AppError::BodyTooSlow)??;
    let (mut response, notice) = match Form::parse(&headers, &body, &app.choices, SystemTime::now())? {
        Form::Vote(ballot) => vote(&app, ballot).await?,
        Form::Reset if app.page.allow_reset => reset(&app).await?,
        Form::Reset => return Err(AppError::ResetForbidden),
    };
    notice.set(&mut response, &headers);
    Ok(response)
}

/// Reads the whole body. A body that is too large is read and discarded, up to a bound: a browser that is still
/// sending would not read the response.
async fn read(body: Body) -> Result<Vec<u8>, AppError> {
    let mut chunks = body.into_data_stream();
    let (mut form, mut length) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| AppError::BodyTooSlow)?;
        length += chunk.len();
        if length <= MAX_BODY_BYTES {
            form.extend_from_slice(&chunk);
        } else if length > MAX_DISCARDED_BYTES {
            break;
        }
    }
    if length > MAX_BODY_BYTES { Err(AppError::BodyTooLarge { max: MAX_BODY_BYTES }) } else { Ok(form) }
}

async fn vote(app: &App, ballot: Ballot) -> Result<(Response, Notice), AppError> {
    let guard = app.metrics.start_vote(ballot.choice);
    let cast = app.store.cast(ballot).await;
    let outcome = cast.as_ref().map_or_else(Outcome::from, |cast| Outcome::from(*cast));
    guard.record(outcome);
    let notice = match cast {
        Ok(Cast::Counted) => Notice::Counted(ballot.choice),
        Ok(Cast::AlreadyCounted) => Notice::AlreadyCounted,
        Err(error) => return Err(AppError::Vote(ballot, error)),
    };
    Ok((([(OUTCOME, outcome.header())], Redirect::to("/")).into_response(), notice))
}

async fn reset(app: &App) -> Result<(Response, Notice), AppError> {
    app.store.reset().await.map_err(AppError::Reset)?;
    tracing::info!("poll reset");
    Ok((Redirect::to("/").into_response(), Notice::Reset))
}
