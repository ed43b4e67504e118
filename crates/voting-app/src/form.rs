//! The vote form, parsed once: handlers never see its raw text.

use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::{HeaderMap, header};
use url::form_urlencoded;
use voting_core::ballot::InvalidBallotId;
use voting_core::{Ballot, BallotId, Choices};

/// What browsers send unless a form says otherwise.
const URL_ENCODED: &str = "application/x-www-form-urlencoded";
/// What some HTTP clients send, such as `curl --form`.
const MULTIPART: &str = "multipart/form-data";

/// A form of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A vote, with the ballot of a page.
    Vote(Ballot),
    /// A vote without a ballot, which gets a new one.
    NewVote(Ballot),
    /// The reset of all votes.
    Reset,
}

/// Why a form is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidForm {
    /// The content type is not that of a form.
    ContentType,
    /// The content type is that of a multipart form, which the body is not.
    Multipart,
    /// The field `vote` is missing, occurs more than once or is not on the poll.
    Vote {
        /// Whether the form has a field `ballot`.
        has_ballot: bool,
    },
    /// The field `ballot` is not a ballot id.
    Ballot,
    /// The field `ballot` occurs more than once.
    Ballots,
    /// The ballot is too old, or from the future.
    Stale,
}

impl Form {
    /// Parses the body of a request that arrived at `now`. A form without a ballot, as curl and clients of azure-vote
    /// send it, gets a new one.
    ///
    /// # Errors
    /// [`InvalidForm`]: the part that is invalid.
    pub async fn parse(
        headers: &HeaderMap,
        body: Vec<u8>,
        choices: &Choices,
        now: SystemTime,
    ) -> Result<Self, InvalidForm> {
        let fields = match media_type(headers).as_str() {
            _ if body.is_empty() => Vec::new(),
            URL_ENCODED => form_urlencoded::parse(&body).into_owned().collect(),
            MULTIPART => multipart_fields(headers, body).await.map_err(|_| InvalidForm::Multipart)?,
            _ => return Err(InvalidForm::ContentType),
        };
        let field = |name: &str| {
            let mut values =
                fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
            match (values.next(), values.next()) {
                (value, None) => Ok(value),
                (_, Some(_)) => Err(()),
            }
        };
        let invalid_vote = InvalidForm::Vote { has_ballot: field("ballot") != Ok(None) };
        let vote = field("vote").ok().flatten().ok_or(invalid_vote)?;
        let choice = if vote == "reset" { None } else { Some(choices.find(vote).ok_or(invalid_vote)?) };
        let id = field("ballot").map_err(|()| InvalidForm::Ballots)?;
        match (choice, id.map(|text| BallotId::parse_at(text, now))) {
            (_, Some(Err(InvalidBallotId::Malformed))) => Err(InvalidForm::Ballot),
            // A reset deletes the votes of any page, however old.
            (None, _) => Ok(Self::Reset),
            (Some(choice), None) => Ok(Self::NewVote(Ballot { id: BallotId::new(), choice })),
            (Some(choice), Some(Ok(id))) => Ok(Self::Vote(Ballot { id, choice })),
            (Some(_), Some(Err(InvalidBallotId::Expired | InvalidBallotId::Future))) => {
                Err(InvalidForm::Stale)
            }
        }
    }
}

/// The media type of a body, in lower case and without its parameters.
fn media_type(headers: &HeaderMap) -> String {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The fields of a multipart form. The body is complete, so none of this waits.
async fn multipart_fields(
    headers: &HeaderMap,
    body: Vec<u8>,
) -> Result<Vec<(String, String)>, InvalidMultipart> {
    let mut request = Request::new(Body::from(body));
    *request.headers_mut() = headers.clone();
    let mut parts = Multipart::from_request(request, &()).await.map_err(|_| InvalidMultipart)?;
    let mut fields = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(|_| InvalidMultipart)? {
        let name = part.name().unwrap_or_default().to_owned();
        fields.push((name, part.text().await.map_err(|_| InvalidMultipart)?));
    }
    Ok(fields)
}

/// A body is not the multipart form that its header says.
struct InvalidMultipart;

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use futures_util::FutureExt as _;
    use proptest::prelude::*;
    use voting_core::Choice;

    use super::*;

    fn parse_as(content_type: &str, body: &[u8]) -> Result<Form, InvalidForm> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        let choices = Choices::default();
        let form = Form::parse(&headers, body.to_vec(), &choices, SystemTime::now());
        form.now_or_never().expect("parsing does not wait")
    }

    fn parse(body: &[u8]) -> Result<Form, InvalidForm> {
        parse_as("application/x-www-form-urlencoded", body)
    }

    #[test]
    fn a_vote_with_its_ballot_is_read() {
        let id = BallotId::new();
        let form = parse(format!("vote=Dogs&ballot={id}").as_bytes());
        assert_eq!(form, Ok(Form::Vote(Ballot { id, choice: Choice::Second })));
        assert_eq!(parse(b"vote=reset"), Ok(Form::Reset));
        assert_eq!(parse(format!("vote=reset&ballot={id}").as_bytes()), Ok(Form::Reset));
        assert_eq!(parse(format!("vote=reset&ballot={id}x").as_bytes()), Err(InvalidForm::Ballot));
        assert_eq!(parse(b"vote=reset&ballot=&ballot="), Err(InvalidForm::Ballots));
        assert!(parse_as("Application/X-WWW-Form-URLencoded; charset=utf-8", b"vote=Cats").is_ok());
    }

    #[test]
    fn a_form_without_a_ballot_gets_a_new_one() {
        let [first, second] = [parse(b"vote=Cats"), parse(b"vote=Cats")];
        assert!(matches!(first, Ok(Form::NewVote(_))) && first != second);
    }

    #[test]
    fn an_invalid_form_is_rejected() {
        for body in [
            "",
            "x",
            "vote",
            "vote=",
            "vote[]=x",
            "vote=Birds",
            "vote=cats",
            "vote=Cats%00",
            "vote=Cats&vote=Dogs",
            "vote=Cats%20",
        ] {
            assert_eq!(parse(body.as_bytes()), Err(InvalidForm::Vote { has_ballot: false }), "{body}");
        }
        assert_eq!(parse(b"vote=Cats&ballot=1"), Err(InvalidForm::Ballot));
        assert_eq!(parse(b"vote=Cats&ballot="), Err(InvalidForm::Ballot));
        assert_eq!(parse(b"vote=Cats&ballot=00000000-0000-7000-8000-000000000000"), Err(InvalidForm::Stale));
        assert_eq!(parse_as("application/json", b"{\"vote\":\"Cats\"}"), Err(InvalidForm::ContentType));
        assert_eq!(parse_as("text/plain", b"vote=Cats"), Err(InvalidForm::ContentType));
    }

    #[test]
    fn a_multipart_form_is_read() {
        let part = |name: &str, value: &str| {
            format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let id = BallotId::new();
        let form =
            |body: String| parse_as("Multipart/Form-Data; boundary=x", format!("{body}--x--\r\n").as_bytes());
        let ballot = part("ballot", &id.to_string());
        assert_eq!(
            form(part("vote", "Dogs") + &ballot),
            Ok(Form::Vote(Ballot { id, choice: Choice::Second }))
        );
        assert_eq!(form(part("vote", "reset")), Ok(Form::Reset));
        assert_eq!(form(part("vote", "Birds")), Err(InvalidForm::Vote { has_ballot: false }));
        assert_eq!(
            form(part("vote", "Cats") + &part("vote", "Dogs")),
            Err(InvalidForm::Vote { has_ballot: false })
        );
        assert_eq!(form(String::new()), Err(InvalidForm::Vote { has_ballot: false }));
        assert_eq!(parse_as("multipart/form-data; boundary=x", b"vote=Cats"), Err(InvalidForm::Multipart));
        assert_eq!(parse_as("multipart/form-data", b"vote=Cats"), Err(InvalidForm::Multipart));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body);
            let _ = parse_as("multipart/form-data; boundary=x", &[b"--x\r\n", &*body].concat());
        }

        #[test]
        fn only_the_names_on_the_poll_are_votes(name in "[a-zA-Z%&=+ ]{0,10}") {
            let body = form_urlencoded::Serializer::new(String::new()).append_pair("vote", &name).finish();
            let is_vote = matches!(parse(body.as_bytes()), Ok(Form::NewVote(_)));
            prop_assert_eq!(is_vote, name == "Cats" || name == "Dogs");
        }
    }
}
