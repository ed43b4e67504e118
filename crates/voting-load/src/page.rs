//! The page as its visitors' programs read it.

use html5gum::{Token, Tokenizer};
use voting_core::BallotId;

/// Votes by choice.
pub type VoteCounts = [u64; 2];

/// A page of the poll.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// The form's address, relative to the page's.
    pub(crate) action: String,
    /// The ballot of this page.
    pub(crate) ballot: BallotId,
    /// The choices, as the form sends them.
    pub(crate) choices: [String; 2],
    /// `None` if the page shows no votes.
    pub(crate) counts: Option<VoteCounts>,
}

impl Page {
    /// Reads a page; `None` if the text is another one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mut action, mut ballot) = (None, None);
        let (mut choices, mut counts) = (Vec::new(), Vec::new());
        for Ok(token) in Tokenizer::new(text) {
            match token {
                Token::StartTag(tag) => {
                    let attribute = |name: &str| {
                        let value = tag.attributes.get(name.as_bytes())?;
                        Some(String::from_utf8_lossy(value).into_owned())
                    };
                    let is_named = |name: &str| attribute("name").is_some_and(|value| value == name);
                    match tag.name.as_slice() {
                        b"form" if attribute("class").is_some_and(|class| class == "choices") => {
                            action = attribute("action");
                        }
                        _ if action.is_none() => {}
                        b"input" if is_named("ballot") => ballot = attribute("value")?.parse().ok(),
                        b"button" if is_named("vote") => choices.push(attribute("value")?),
                        b"progress" if tag.attributes.contains_key(&b"data-bar"[..]) => {
                            counts.push(attribute("value")?.parse().ok()?);
                        }
                        _ => {}
                    }
                }
                // The page has other forms.
                Token::EndTag(tag) if action.is_some() && tag.name.as_slice() == b"form" => break,
                _ => {}
            }
        }
        let has_counts = !text.contains("The votes are unavailable");
        Some(Self {
            action: action?,
            ballot: ballot?,
            choices: choices.try_into().ok()?,
            counts: counts.try_into().ok().filter(|_| has_counts),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(results: &str) -> String {
        format!(
            r#"<form class="choices" method="post" action="./"><input type="hidden" name="ballot" value="{}">
            <button name="vote" value="Tea &amp; milk"></button><progress data-bar="0" max="9" value="2"></progress>
            <button name="vote" value="Coffee"></button><progress data-bar="1" max="9" value="7"></progress></form>
            <div id="results"> {results} </div><form action="featureflag/set"></form>"#,
            BallotId::new()
        )
    }

    #[test]
    fn the_form_of_the_page_is_read() {
        let page = Page::parse(&page("Tea: 2 | Coffee: 7")).unwrap();
        assert_eq!((page.action.as_str(), page.counts), ("./", Some([2, 7])));
        assert_eq!(page.choices, ["Tea & milk", "Coffee"]);
    }

    #[test]
    fn a_page_without_results_still_has_a_form() {
        assert_eq!(Page::parse(&page("The votes are unavailable")).unwrap().counts, None);
        assert!(Page::parse("<h1>502 Bad Gateway</h1>").is_none());
    }
}
