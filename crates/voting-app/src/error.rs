//! The error of every route: a status, and a page that says what is allowed.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use voting_core::{Ballot, Cast, Choice, Choices};
use voting_faults::requests::InjectedError;
use voting_http::origin::ForeignOrigin;
use voting_storage::StoreError;

use crate::form::InvalidForm;
use crate::outcome::Outcome;

/// An error that a visitor sees.
#[derive(Debug)]
pub enum AppError {
    /// The form is invalid; nothing was counted.
    Form(InvalidForm),
    /// The store is unavailable or did not confirm in time; the page offers the same ballot again.
    Vote(Ballot, StoreError),
    /// The store no longer knows whether this ballot was counted.
    Expired,
    /// The store did not reset the poll, or did not confirm it.
    Reset(StoreError),
    /// `ALLOW_RESET` is false.
    ResetForbidden,
    /// The form was sent by another site.
    CrossSite(ForeignOrigin),
    /// The body has more than `max` bytes.
    BodyTooLarge {
        /// The most bytes of a body.
        max: usize,
    },
    /// The body did not arrive within this time.
    BodyTooSlow {
        /// How long a body may take.
        limit: Duration,
    },
    /// Half of the connections follow the live results already.
    TooManyViewers,
    /// No route has this path.
    NotFound,
    /// The feature flag has no such action.
    UnknownFlagAction,
    /// The route does not take this method.
    MethodNotAllowed,
    /// A fault of a bad release.
    Injected(InjectedError),
}

/// The content of an error page.
#[derive(Debug)]
pub struct ErrorView {
    pub status: StatusCode,
    pub title: &'static str,
    /// The consequence, and what is allowed.
    pub text: String,
    pub outcome: Option<Outcome>,
    pub retry: Option<Retry>,
}

/// A vote that the visitor can send again.
#[derive(Debug)]
pub struct Retry {
    pub vote: String,
    pub ballot: String,
}

impl From<InvalidForm> for AppError {
    fn from(error: InvalidForm) -> Self {
        Self::Form(error)
    }
}

impl IntoResponse for AppError {
    /// Attaches the error to the response. The layer around the routes renders the page, because it needs the state of
    /// the app; without that layer the response is an empty 500.
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl AppError {
    /// Removes the error that a handler attached to this response.
    pub fn take_from(response: &mut Response) -> Option<Arc<Self>> {
        response.extensions_mut().remove()
    }

    /// Logs a failure of the store, and a rejected origin: the cause may be a proxy. The other errors are the client's
    /// and show up in the metrics.
    pub fn log(&self) {
        match self {
            Self::Vote(Ballot { id, .. }, error) => {
                let outcome = Outcome::from(error).header();
                tracing::error!(%error, ballot = %id, outcome, "vote answered with 503");
            }
            Self::Reset(error) => tracing::error!(%error, "reset answered with 503"),
            Self::CrossSite(ForeignOrigin { origin, host }) => {
                tracing::warn!(origin, host, "form of another origin rejected");
            }
            _ => {}
        }
    }

    /// The page of this error in a poll of these choices.
    pub fn describe(&self, choices: &Choices) -> ErrorView {
        let name = |choice| choices.name(choice).as_str();
        let allowed = || format!("Allowed: {} or {}.", name(Choice::First), name(Choice::Second));
        let (status, title, text) = match self {
            Self::Form(InvalidForm::ContentType) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "This is not a form",
                "Send the vote as application/x-www-form-urlencoded or multipart/form-data.".to_owned(),
            ),
            Self::Form(InvalidForm::Multipart) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "This is not a valid form",
                format!("A multipart form must be complete and begin with its boundary. {}", allowed()),
            ),
            Self::Form(InvalidForm::Vote { .. }) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "This is not a valid vote",
                format!("The field “vote” must occur once and name a choice. {}", allowed()),
            ),
            Self::Form(InvalidForm::Ballot | InvalidForm::Ballots) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "This is not a valid ballot",
                "The field “ballot” may occur once and must be a UUID of version 7.".to_owned(),
            ),
            Self::Form(InvalidForm::Stale) | Self::Expired => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "This ballot can’t be used",
                "A ballot is valid for a day after the page was loaded. Go back to the poll for a new one."
                    .to_owned(),
            ),
            Self::Vote(ballot, StoreError::Unconfirmed(_)) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Your vote is not confirmed",
                format!(
                    "No confirmation arrived in time, so your vote for {} may or may not be counted. \
                     Try again: the same ballot is never counted twice.",
                    name(ballot.choice),
                ),
            ),
            Self::Vote(ballot, _) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Your vote was not counted",
                format!(
                    "Voting is unavailable right now. Your vote for {} was not counted and will not be \
                     counted later. Try again:",
                    name(ballot.choice),
                ),
            ),
            Self::Reset(StoreError::Unconfirmed(_)) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The reset is not confirmed",
                "No confirmation arrived in time, so the poll may or may not be reset. Look at the poll."
                    .to_owned(),
            ),
            Self::Reset(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The poll was not reset",
                "The votes are unavailable right now. Try again later.".to_owned(),
            ),
            Self::ResetForbidden => (
                StatusCode::FORBIDDEN,
                "Resetting is disabled",
                format!("This poll can’t be reset from the page. {}", allowed()),
            ),
            Self::CrossSite(ForeignOrigin { origin, host }) => (
                StatusCode::FORBIDDEN,
                "This form came from another site",
                format!(
                    "The form is from {origin}, and the request is for {host}. Only forms of this page are accepted. If \
                     both are this page, a proxy replaces the host: its operator can pass the host on, or name the \
                     origin in the setting TRUSTED_ORIGINS."
                ),
            ),
            Self::BodyTooLarge { max } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "This form is too large",
                format!("A form may have up to {max} bytes. {}", allowed()),
            ),
            Self::BodyTooSlow { limit } => (
                StatusCode::REQUEST_TIMEOUT,
                "This form did not arrive in time",
                format!(
                    "A form must arrive within {} seconds. Reload this page to send the same form again: a ballot is \
                     never counted twice.",
                    limit.as_secs()
                ),
            ),
            Self::TooManyViewers => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many live viewers",
                "Reload the poll to see new votes.".to_owned(),
            ),
            Self::NotFound => {
                (StatusCode::NOT_FOUND, "Page not found", "The poll is on the start page.".to_owned())
            }
            Self::UnknownFlagAction => (
                StatusCode::NOT_FOUND,
                "No such action",
                "The feature flag can be set or cleared: POST /featureflag/set or /featureflag/clear."
                    .to_owned(),
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
                "The header Allow lists the allowed methods.".to_owned(),
            ),
            Self::Injected(InjectedError { fault, status }) => (
                *status,
                "This release fails on purpose",
                format!(
                    "It injects faults to rehearse a canary, here the fault “{}”. Try again.",
                    fault.name()
                ),
            ),
        };
        ErrorView { status, title, text, outcome: self.outcome(), retry: self.retry(choices) }
    }

    /// The outcome of the vote; `None` if the request was not one.
    fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Form(InvalidForm::Vote { has_ballot: false } | InvalidForm::Ballot) => {
                Some(Outcome::Invalid)
            }
            Self::Form(_) | Self::CrossSite(_) | Self::BodyTooLarge { .. } | Self::BodyTooSlow { .. } => {
                Some(Outcome::Rejected)
            }
            Self::Vote(_, error) => Some(error.into()),
            Self::Expired => Some(Cast::Expired.into()),
            Self::Reset(_)
            | Self::ResetForbidden
            | Self::TooManyViewers
            | Self::NotFound
            | Self::UnknownFlagAction
            | Self::MethodNotAllowed
            | Self::Injected(_) => None,
        }
    }

    fn retry(&self, choices: &Choices) -> Option<Retry> {
        let Self::Vote(Ballot { id, choice }, _) = self else { return None };
        Some(Retry { vote: choices.name(*choice).to_string(), ballot: id.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_travels_with_its_response() {
        let mut response = AppError::NotFound.into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let error = AppError::take_from(&mut response).unwrap();
        assert_eq!(error.describe(&Choices::default()).status, StatusCode::NOT_FOUND);
        assert!(AppError::take_from(&mut response).is_none());
    }

    #[test]
    fn only_an_uncounted_vote_can_be_sent_again() {
        let choices = Choices::default();
        let ballot = Ballot { id: voting_core::BallotId::new(), choice: Choice::Second };
        let view = AppError::Vote(ballot, StoreError::Unavailable("down".into())).describe(&choices);
        let retry = view.retry.unwrap();
        assert_eq!((retry.vote, retry.ballot), ("Dogs".to_owned(), ballot.id.to_string()));
        assert_eq!(view.outcome, Some(Outcome::Refused));
        assert!(!view.text.contains("down"));
        assert!(AppError::Form(InvalidForm::Vote { has_ballot: true }).describe(&choices).retry.is_none());
    }
}
