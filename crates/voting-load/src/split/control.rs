//! `POST /split/load`: changes the pace of the load.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use url::form_urlencoded;

use super::{BURST, Split};

/// Changes that a form asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Change {
    rate: Option<u32>,
    has_burst: bool,
    votes: Option<bool>,
    /// Whether the form is on a page that does not reload itself.
    is_still: bool,
}

/// The largest form.
const MOST_BYTES: usize = 1000;

impl Change {
    /// Reads a form of the page.
    ///
    /// # Errors
    /// What is allowed.
    fn parse(form: &[u8], most_rate: u32, has_votes_switch: bool) -> Result<Self, String> {
        let mut change = Self::default();
        if form.len() > MOST_BYTES {
            return Err(format!("The form is larger than {MOST_BYTES} bytes."));
        }
        for (name, value) in form_urlencoded::parse(form) {
            match (&*name, &*value) {
                ("rate", rate) => {
                    let rate = rate.parse().ok().filter(|rate| *rate <= most_rate);
                    change.rate = Some(
                        rate.ok_or_else(|| format!("The rate is a whole number from 0 to {most_rate}."))?,
                    );
                }
                ("burst", _) => change.has_burst = true,
                ("votes", "on") if has_votes_switch => change.votes = Some(true),
                ("votes", "off") if has_votes_switch => change.votes = Some(false),
                ("votes", _) => {
                    return Err("Whether these voters vote is not for this page to say.".to_owned());
                }
                ("still", _) => change.is_still = true,
                _ => return Err("The fields are rate, burst and votes.".to_owned()),
            }
        }
        Ok(change)
    }
}

/// Changes the pace, and redirects to the page; without a redirect for its script.
pub(super) async fn change(State(split): State<Split>, headers: HeaderMap, form: String) -> Response {
    let settings = &split.0.settings;
    let change = match Change::parse(form.as_bytes(), settings.most_rate, settings.has_votes_switch) {
        Ok(change) => change,
        Err(allowed) => return (StatusCode::UNPROCESSABLE_ENTITY, allowed + "\n").into_response(),
    };
    split.watch();
    if let Some(votes) = change.votes {
        split.pace().set_views_only(!votes);
    }
    if let Some(rate) = change.rate {
        split.pace().set_rate(Some(rate));
    }
    if change.has_burst {
        split.pace().burst(BURST);
    }
    if headers.get(header::ACCEPT).is_some_and(|accepted| accepted == "application/json") {
        return StatusCode::NO_CONTENT.into_response();
    }
    let page = if change.is_still { "../split?still" } else { "../split" };
    (StatusCode::SEE_OTHER, [(header::LOCATION, page)]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_changes_what_the_page_offers_and_nothing_else() {
        let parse = |form: &str| Change::parse(form.as_bytes(), 200, true);
        assert_eq!(parse("rate=200").unwrap(), Change { rate: Some(200), ..Change::default() });
        assert_eq!(
            parse("burst=1&still=").unwrap(),
            Change { has_burst: true, is_still: true, ..Change::default() }
        );
        assert_eq!(parse("votes=on").unwrap().votes, Some(true));
        for form in ["rate=201", "rate=-1", "rate=", "rate=1e9", "votes=maybe", "rates=1", "rate=0&x"] {
            assert!(parse(form).is_err(), "{form}");
        }
        assert!(parse(&"burst=1&".repeat(200)).unwrap_err().contains("1000 bytes"));
        assert!(Change::parse(b"votes=off", 200, false).is_err(), "the program voting-load always votes");
    }
}
