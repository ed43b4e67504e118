//! `POST /`: a vote, or a reset of the poll.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use futures_util::StreamExt as _;
use tokio::time::timeout;
use voting_core::{Ballot, Cast};
use voting_http::retry::is_repetition;
use voting_storage::StoreError;

use crate::app::App;
use crate::base::Base;
use crate::error::AppError;
use crate::form::Form;
use crate::notice::Notice;
use crate::outcome::{OUTCOME, Outcome};

/// How long a form may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(5);

const TOO_SLOW: AppError = AppError::BodyTooSlow { limit: FORM_TIMEOUT };

/// The most bytes of a form; the page's own has under 500.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// The most bytes that are read of a form that is too large.
const MAX_DISCARDED_BYTES: usize = 4 * 1024 * 1024;

/// Counts a vote or resets the poll, then redirects to the page.
///
/// 303 means that the change is stored. A retry with the same ballot is always safe.
pub(super) async fn cast(State(app): State<App>, request: Request) -> Result<Response, AppError> {
    let base = Base::of(&request);
    let (Parts { headers, .. }, body) = request.into_parts();
    let body = timeout(FORM_TIMEOUT, read(body)).await.map_err(|_| TOO_SLOW)??;
    let (mut response, notice) = match Form::parse(&headers, body, &app.choices, SystemTime::now()).await? {
        Form::Vote(ballot) => vote(&app, &base, ballot, app.store.cast(ballot)).await?,
        // Each attempt of such a form gets a ballot of its own, so a repetition might count twice.
        Form::NewVote(ballot) if is_repetition(&headers) => {
            let error = StoreError::Unconfirmed("a proxy repeated a form without a ballot".into());
            vote(&app, &base, ballot, std::future::ready(Err(error))).await?
        }
        Form::NewVote(ballot) => vote(&app, &base, ballot, app.store.cast_new(ballot)).await?,
        Form::Reset if !app.page.allow_reset => return Err(AppError::ResetForbidden),
        // The first attempt may have been done, and votes may have been counted since.
        Form::Reset if is_repetition(&headers) => {
            return Err(AppError::Reset(StoreError::Unconfirmed("a proxy repeated a reset".into())));
        }
        Form::Reset => reset(&app, &base).await?,
    };
    notice.set(&mut response, &base);
    Ok(response)
}

/// Reads the whole body. A body that is too large is read and discarded, up to a bound: a browser that is still
/// sending would not read the response.
async fn read(body: Body) -> Result<Vec<u8>, AppError> {
    let mut chunks = body.into_data_stream();
    let (mut form, mut length) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| TOO_SLOW)?;
        length += chunk.len();
        if length <= MAX_BODY_BYTES {
            form.extend_from_slice(&chunk);
        } else if length > MAX_DISCARDED_BYTES {
            break;
        }
    }
    if length > MAX_BODY_BYTES { Err(AppError::BodyTooLarge { max: MAX_BODY_BYTES }) } else { Ok(form) }
}

async fn vote(
    app: &App,
    base: &Base,
    ballot: Ballot,
    cast: impl Future<Output = Result<Cast, StoreError>>,
) -> Result<(Response, Notice), AppError> {
    let guard = app.metrics.start_vote(ballot.choice);
    let cast = cast.await;
    let outcome = cast.as_ref().map_or_else(Outcome::from, |cast| Outcome::from(*cast));
    guard.record(outcome);
    let notice = match cast {
        Ok(Cast::Counted) => Notice::Counted(ballot.choice),
        Ok(Cast::AlreadyCounted) => Notice::AlreadyCounted,
        Ok(Cast::Expired) => return Err(AppError::Expired),
        Err(error) => return Err(AppError::Vote(ballot, error)),
    };
    Ok((([(OUTCOME, outcome.header())], Redirect::to(&base.location())).into_response(), notice))
}

async fn reset(app: &App, base: &Base) -> Result<(Response, Notice), AppError> {
    app.store.reset().await.map_err(AppError::Reset)?;
    tracing::info!("poll reset");
    Ok((Redirect::to(&base.location()).into_response(), Notice::Reset))
}
