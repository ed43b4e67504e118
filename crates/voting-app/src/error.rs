//! What a visitor is told when something is wrong: a status, and a page that says what is allowed.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use voting_core::{Ballot, Choice};
use voting_http::layer::MAX_COOKIE_BYTES;
use voting_http::server::MAX_BODY_BYTES;
use voting_storage::StoreError;

use crate::App;
use crate::form::InvalidForm;
use crate::metrics::Outcome;
use crate::page::{ErrorPage, Retry, render};
use crate::routes::vote::OUTCOME;

/// Everything that a visitor can be told.
#[derive(Debug)]
pub enum AppError {
    /// The form can't be used; nothing was counted.
    Form(InvalidForm),
    /// The store is away or did not confirm in time; the page offers the same ballot again.
    Vote(Ballot, StoreError),
    /// The reset was not done, or not confirmed.
    Reset(StoreError),
    /// Resetting is switched off.
    ResetForbidden,
    /// The form was sent by another site.
    CrossSite,
    /// The body is larger than [`MAX_BODY_BYTES`].
    BodyTooLarge,
    /// The body did not come in time.
    BodyTooSlow,
    /// The cookies are more than [`MAX_COOKIE_BYTES`].
    TooManyCookies,
    /// There is no such page.
    NotFound,
    /// There is no such action of the feature flag.
    UnknownFlagAction,
    /// The page is there, but not for this method.
    MethodNotAllowed,
}

/// How a visitor is told.
struct Told {
    status: StatusCode,
    title: &'static str,
    text: String,
    /// What became of the vote, for programs.
    outcome: Option<Outcome>,
    retry: Option<Retry>,
}

impl AppError {
    /// The page that tells it. What went wrong inside is logged here, once, and never shown.
    pub fn into_page(self, app: &App) -> Response {
        let told = self.told(app);
        let page = ErrorPage {
            app,
            status: told.status,
            title: told.title,
            text: &told.text,
            retry: told.retry.as_ref(),
        };
        let mut response = (told.status, render(&page)).into_response();
        let headers = response.headers_mut();
        if let Some(outcome) = told.outcome {
            headers.insert(OUTCOME.clone(), HeaderValue::from_static(outcome.header()));
        }
        if told.outcome == Some(Outcome::Invalid) {
            app.metrics.count_invalid();
        }
        if told.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    fn told(self, app: &App) -> Told {
        let told = |status, title, text: String| Told { status, title, text, outcome: None, retry: None };
        let invalid = |status, title, text: String| Told {
            outcome: Some(Outcome::Invalid),
            ..told(status, title, text)
        };
        let choices = Choice::ALL.map(|choice| app.choices.name(choice).to_string());
        let allowed = format!("Allowed: {} or {}.", choices[0], choices[1]);
        match self {
            Self::Form(InvalidForm::ContentType) => invalid(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "This is not a form",
                "A vote is a form of the type application/x-www-form-urlencoded.".to_owned(),
            ),
            Self::Form(InvalidForm::Vote) => invalid(
                StatusCode::UNPROCESSABLE_ENTITY,
                "This is not on the poll",
                format!("The field \u{201c}vote\u{201d} must be there once. {allowed}"),
            ),
            Self::Form(InvalidForm::Ballot) => invalid(
                StatusCode::UNPROCESSABLE_ENTITY,
                "This is not a ballot",
                "The field \u{201c}ballot\u{201d} is made by the page (a UUID of version 7) and must be there once or not at all.".to_owned(),
            ),
            Self::Form(InvalidForm::Stale) => invalid(
                StatusCode::UNPROCESSABLE_ENTITY,
                "This ballot is too old",
                "A ballot is taken for a day after the page was loaded. Go back to the page for a new one.".to_owned(),
            ),
            Self::Vote(ballot, error) => {
                let name = app.choices.name(ballot.choice);
                let outcome = Outcome::from(&error);
                let (title, text) = if outcome == Outcome::Unconfirmed {
                    (
                        "Your vote is not confirmed",
                        format!("The answer did not come in time, so your vote for {name} may or may not be counted. Try again: this ballot counts once, however often it is sent."),
                    )
                } else {
                    (
                        "Your vote was not counted",
                        format!("Votes can\u{2019}t be taken right now. Your vote for {name} was not counted and will not be later. Try again:"),
                    )
                };
                tracing::error!(%error, ballot = %ballot.id, outcome = outcome.header(), "A vote was answered with 503.");
                Told {
                    outcome: Some(outcome),
                    retry: Some(Retry { vote: name.to_string(), ballot: ballot.id.to_string() }),
                    ..told(StatusCode::SERVICE_UNAVAILABLE, title, text)
                }
            }
            Self::Reset(error) => {
                tracing::error!(%error, "A reset was answered with 503.");
                told(StatusCode::SERVICE_UNAVAILABLE, "The poll was not reset", "The votes can\u{2019}t be reached right now. Try again soon.".to_owned())
            }
            Self::ResetForbidden => told(StatusCode::FORBIDDEN, "Resetting is switched off", format!("This poll can\u{2019}t be reset from the page. {allowed}")),
            Self::CrossSite => invalid(StatusCode::FORBIDDEN, "This form came from another site", "Only forms of this page are taken.".to_owned()),
            Self::BodyTooLarge => invalid(StatusCode::PAYLOAD_TOO_LARGE, "This form is too large", format!("A form may have {MAX_BODY_BYTES} bytes. {allowed}")),
            Self::BodyTooSlow => invalid(StatusCode::REQUEST_TIMEOUT, "The form did not arrive", "Its end did not come in time.".to_owned()),
            Self::TooManyCookies => invalid(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "These are too many cookies",
                format!("All cookies together may have {MAX_COOKIE_BYTES} bytes. Delete those of this site."),
            ),
            Self::NotFound => told(StatusCode::NOT_FOUND, "There is no such page", "The poll is on the start page.".to_owned()),
            Self::UnknownFlagAction => told(
                StatusCode::NOT_FOUND,
                "There is no such action",
                "The feature flag can be set or cleared: POST /featureflag/set or /featureflag/clear.".to_owned(),
            ),
            Self::MethodNotAllowed => told(StatusCode::METHOD_NOT_ALLOWED, "This page can\u{2019}t do that", "The header Allow says which methods it takes.".to_owned()),
        }
    }
}
