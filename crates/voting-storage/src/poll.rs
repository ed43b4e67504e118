//! The poll: two named choices, parsed once from configuration.
//!
//! A request only ever selects a [`Category`], so no input can name a key, a row or a choice that is not on the poll.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a choice: 1 to 100 characters as the voter sees them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Choice(Arc<str>);

/// Why a text can't be the name of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChoice {
    /// Nothing, or only white space.
    #[error("is empty; allowed: 1 to 100 characters")]
    Empty,
    /// Over [`Choice::MAX_CHARS`] characters.
    #[error("is too long; allowed: 1 to 100 characters")]
    TooLong,
    /// White space at an end, which nobody could see or type.
    #[error("starts or ends with white space; allowed: 1 to 100 characters without it at either end")]
    Untrimmed,
    /// A control character (a line break, NUL) or a brace. Redis Cluster takes what stands in braces as the place
    /// of a key.
    #[error("holds a control character or a brace; allowed: 1 to 100 other characters")]
    Character,
    /// `reset`, which is a command of the form.
    #[error("is the command that resets the poll; allowed: 1 to 100 characters other than \"reset\"")]
    Reserved,
}

impl Choice {
    /// The most characters that a name may have. The original's limit was 45.
    pub const MAX_CHARS: usize = 100;

    /// The name as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Choice {
    type Err = InvalidChoice;

    fn from_str(name: &str) -> Result<Self, InvalidChoice> {
        if name.trim().is_empty() {
            Err(InvalidChoice::Empty)
        } else if name.chars().count() > Self::MAX_CHARS {
            Err(InvalidChoice::TooLong)
        } else if name.trim() != name {
            Err(InvalidChoice::Untrimmed)
        } else if name.chars().any(|c| c.is_control() || matches!(c, '{' | '}')) {
            Err(InvalidChoice::Character)
        } else if name == "reset" {
            Err(InvalidChoice::Reserved)
        } else {
            Ok(Self(name.into()))
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One of the poll's two choices, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// `category1` of the HTTP contract, `VOTE1VALUE` of the configuration.
    First,
    /// `category2`, `VOTE2VALUE`.
    Second,
}

impl Category {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// 0 or 1, for arrays with an entry for each category.
    pub fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }
}

/// The poll's two choices; they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices([Choice; 2]);

/// The two choices have one name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("both choices are {0:?}; allowed: two different names")]
pub struct EqualChoices(pub String);

impl Choices {
    /// The poll of these two.
    ///
    /// # Errors
    /// They are equal: one vote would count for both.
    pub fn new(first: Choice, second: Choice) -> Result<Self, EqualChoices> {
        if first == second { Err(EqualChoices(first.to_string())) } else { Ok(Self([first, second])) }
    }

    /// The name of a category.
    pub fn name(&self, category: Category) -> &Choice {
        &self.0[category.index()]
    }

    /// The category of exactly this name; `None` if it is not on the poll.
    pub fn find(&self, name: &str) -> Option<Category> {
        Category::ALL.into_iter().find(|&category| self.name(category).as_str() == name)
    }
}

impl Default for Choices {
    /// Cats or Dogs.
    fn default() -> Self {
        Self([Choice("Cats".into()), Choice("Dogs".into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_any_visible_character() {
        let long = "ü".repeat(100);
        for name in ["Cats", "it's \"100%\" `cats`; --", "😺😺", "Çats", "a\\b", "x", &long] {
            assert_eq!(name.parse::<Choice>().map(|c| c.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn a_name_that_cannot_be_shown_typed_or_kept_is_refused() {
        let long = "x".repeat(101);
        for (name, why) in [
            ("", InvalidChoice::Empty),
            ("  ", InvalidChoice::Empty),
            (long.as_str(), InvalidChoice::TooLong),
            (" Cats", InvalidChoice::Untrimmed),
            ("Ca\0ts", InvalidChoice::Character),
            ("{Cats}", InvalidChoice::Character),
            ("reset", InvalidChoice::Reserved),
        ] {
            assert_eq!(name.parse::<Choice>(), Err(why), "{name:?}");
        }
    }

    #[test]
    fn equal_choices_are_refused_and_similar_ones_are_two() {
        let choice = |name: &str| name.parse::<Choice>().unwrap();
        assert!(Choices::new(choice("Cats"), choice("Cats")).is_err());
        let choices = Choices::new(choice("cats"), choice("CATS")).unwrap();
        assert_eq!(choices.find("cats"), Some(Category::First));
        assert_eq!(choices.find("CATS"), Some(Category::Second));
        assert_eq!(choices.find("Cats"), None);
    }
}
