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
    /// The votes of each choice, or why the page does not tell them.
    pub(crate) counts: Result<VoteCounts, NoCounts>,
}

/// Why a page does not tell the votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoCounts {
    /// The app had no answer of voting-analytics.
    #[error("no results on the page")]
    Unavailable,
    /// The numbers of the bars are not those of the results in words.
    #[error("results on the page that don't add up")]
    Contradictory,
}

impl Page {
    /// Reads a page; `None` if the text is another one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mut action, mut ballot) = (None, None);
        let (mut choices, mut counts) = (Vec::new(), Vec::new());
        let (mut is_in_form, mut results) = (false, None::<String>);
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
                            (action, is_in_form) = (attribute("action"), true);
                        }
                        b"div" if attribute("id").is_some_and(|id| id == "results") => {
                            results = Some(String::new())
                        }
                        // The page has other forms.
                        _ if !is_in_form => {}
                        b"input" if is_named("ballot") => ballot = attribute("value")?.parse().ok(),
                        b"button" if is_named("vote") => choices.push(attribute("value")?),
                        b"progress" if tag.attributes.contains_key(&b"data-bar"[..]) => {
                            counts.push(attribute("value")?.parse().ok()?);
                        }
                        _ => {}
                    }
                }
                Token::String(text) => {
                    if let Some(results) = &mut results {
                        *results += &String::from_utf8_lossy(&text);
                    }
                }
                Token::EndTag(tag) if tag.name.as_slice() == b"form" => is_in_form = false,
                Token::EndTag(tag) if results.is_some() && tag.name.as_slice() == b"div" => break,
                _ => {}
            }
        }
        let (results, choices) = (results?, <[String; 2]>::try_from(choices).ok()?);
        let counts = match VoteCounts::try_from(counts) {
            Ok(counts) if (0..2).all(|choice| tells(&results, &choices[choice], counts[choice])) => {
                Ok(counts)
            }
            Ok(_) if !results.contains("The votes are unavailable") => Err(NoCounts::Contradictory),
            _ => Err(NoCounts::Unavailable),
        };
        Some(Self { action: action?, ballot: ballot?, choices, counts })
    }
}

/// Whether results in words, such as `Cats: 2 | Dogs: 4` or `Cats: 2/6 (33%) | Dogs: 4/6 (67%)`, have this count.
fn tells(results: &str, choice: &str, count: u64) -> bool {
    let start = format!("{choice}: {count}");
    results
        .match_indices(&start)
        .any(|(place, start)| !results[place + start.len()..].starts_with(|next: char| next.is_ascii_digit()))
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
        let page = Page::parse(&page("Tea &amp; milk: 2/9 (22%) | Coffee: 7/9 (78%)")).unwrap();
        assert_eq!((page.action.as_str(), page.counts), ("./", Ok([2, 7])));
        assert_eq!(page.choices, ["Tea & milk", "Coffee"]);
    }

    #[test]
    fn a_page_without_results_still_has_a_form() {
        let counts = |results| Page::parse(&page(results)).unwrap().counts;
        assert_eq!(counts("The votes are unavailable"), Err(NoCounts::Unavailable));
        assert_eq!(counts("Tea &amp; milk: 2 | Coffee: 7"), Ok([2, 7]));
        for wrong in ["Tea &amp; milk: 1 | Coffee: 7", "Tea &amp; milk: 2 | Coffee: 77", "Coffee: 7"] {
            assert_eq!(counts(wrong), Err(NoCounts::Contradictory), "{wrong}");
        }
        assert!(Page::parse("<h1>502 Bad Gateway</h1>").is_none());
    }
}
