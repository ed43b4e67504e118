//! The page as its visitors' programs read it.

use std::sync::LazyLock;

use scraper::{Html, Selector};
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

struct Selectors {
    form: Selector,
    ballot: Selector,
    choices: Selector,
    bars: Selector,
}

static SELECTORS: LazyLock<Selectors> = LazyLock::new(|| {
    let selector = |text| Selector::parse(text).expect("a selector");
    Selectors {
        form: selector("form.choices"),
        ballot: selector("input[name=ballot]"),
        choices: selector("button[name=vote]"),
        bars: selector("progress[data-bar]"),
    }
});

impl Page {
    /// Reads a page; `None` if the text is another one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let page = Html::parse_document(text);
        let form = page.select(&SELECTORS.form).next()?;
        let ballot = form.select(&SELECTORS.ballot).next()?.attr("value")?.parse().ok()?;
        let choices: Vec<_> =
            form.select(&SELECTORS.choices).filter_map(|button| button.attr("value")).collect();
        let counts: Vec<u64> =
            form.select(&SELECTORS.bars).filter_map(|bar| bar.attr("value")?.parse().ok()).collect();
        let has_counts = !text.contains("The votes are unavailable");
        Some(Self {
            action: form.attr("action")?.to_owned(),
            ballot,
            choices: <[&str; 2]>::try_from(choices).ok()?.map(ToOwned::to_owned),
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
