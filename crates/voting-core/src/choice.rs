//! The two choices of a poll, parsed once from configuration.
//!
//! A request only ever selects a [`Choice`], so no input can name a key, a row or a choice that is not on the poll.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization as _;

/// The name of a choice: 1 to 100 characters as the voter sees them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChoiceName(Arc<str>);

/// Why a text is not the name of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChoiceName {
    /// Empty, or only white space.
    #[error("is empty; allowed: 1 to 100 characters")]
    Empty,
    /// Over [`ChoiceName::MAX_CHARS`] characters.
    #[error("is too long; allowed: 1 to 100 characters")]
    TooLong,
    /// White space at an end, which is invisible to a voter.
    #[error("starts or ends with white space; allowed: 1 to 100 characters without it at either end")]
    Untrimmed,
    /// A control character (a line break, NUL) or a brace: Redis Cluster derives the slot of a key from a part in braces.
    #[error("holds a control character or a brace; allowed: 1 to 100 other characters")]
    Character,
    /// `reset`, a command of the form.
    #[error("is the command that resets the poll; allowed: 1 to 100 characters other than \"reset\"")]
    Reserved,
}

impl ChoiceName {
    /// The most characters of a name. (azure-vote allowed 45.)
    pub const MAX_CHARS: usize = 100;

    /// The name as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a voter may take the names for one: they differ at most in case, white space, width, invisible characters or
    /// the spelling of a character in Unicode.
    pub fn looks_like(&self, other: &Self) -> bool {
        self.skeleton() == other.skeleton()
    }

    /// Whether the name shows anything.
    pub fn is_visible(&self) -> bool {
        !self.skeleton().is_empty()
    }

    /// What names that look alike have in common. Upper case first folds more characters, such as ß and SS.
    fn skeleton(&self) -> String {
        let visible =
            self.0.nfkc().filter(|character| !character.is_whitespace() && !is_invisible(*character));
        let folded = visible.flat_map(char::to_uppercase).flat_map(char::to_lowercase);
        folded.collect::<String>().nfkc().collect()
    }
}

/// A character that takes no space: one that Unicode lists as `Default_Ignorable_Code_Point`, or the empty Braille pattern.
/// Joiners and variants of emoji are among them.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

impl FromStr for ChoiceName {
    type Err = InvalidChoiceName;

    fn from_str(name: &str) -> Result<Self, InvalidChoiceName> {
        if name.trim().is_empty() {
            Err(InvalidChoiceName::Empty)
        } else if name.chars().count() > Self::MAX_CHARS {
            Err(InvalidChoiceName::TooLong)
        } else if name.trim() != name {
            Err(InvalidChoiceName::Untrimmed)
        } else if name.chars().any(|c| c.is_control() || matches!(c, '{' | '}')) {
            Err(InvalidChoiceName::Character)
        } else if name == "reset" {
            Err(InvalidChoiceName::Reserved)
        } else {
            Ok(Self(name.into()))
        }
    }
}

impl fmt::Display for ChoiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One of the poll's two choices, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// `category1` of the HTTP contract, `VOTE1VALUE` of the configuration.
    First,
    /// `category2`, `VOTE2VALUE`.
    Second,
}

impl Choice {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// 0 or 1, for arrays with an entry per choice.
    pub fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }
}

/// The names of the poll's two choices, which differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices([ChoiceName; 2]);

/// Both choices have the same name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("both choices are {0:?}; allowed: two different names")]
pub struct EqualChoices(pub String);

impl Choices {
    /// A poll of these two.
    ///
    /// # Errors
    /// They are equal: one vote would count for both.
    pub fn new(first: ChoiceName, second: ChoiceName) -> Result<Self, EqualChoices> {
        if first == second { Err(EqualChoices(first.to_string())) } else { Ok(Self([first, second])) }
    }

    /// The name of a choice.
    pub fn name(&self, choice: Choice) -> &ChoiceName {
        &self.0[choice.index()]
    }

    /// The choice with exactly this name; `None` if it is not on the poll.
    pub fn find(&self, name: &str) -> Option<Choice> {
        Choice::ALL.into_iter().find(|&choice| self.name(choice).as_str() == name)
    }
}

impl Default for Choices {
    /// Cats or Dogs.
    fn default() -> Self {
        Self([ChoiceName("Cats".into()), ChoiceName("Dogs".into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_any_visible_character() {
        let long = "ü".repeat(100);
        for name in ["Cats", "it's \"100%\" `cats`; --", "😺😺", "Çats", "a\\b", "x", &long] {
            assert_eq!(name.parse::<ChoiceName>().map(|c| c.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn a_name_that_cannot_be_shown_typed_or_stored_is_rejected() {
        let long = "x".repeat(101);
        for (name, why) in [
            ("", InvalidChoiceName::Empty),
            ("  ", InvalidChoiceName::Empty),
            (long.as_str(), InvalidChoiceName::TooLong),
            (" Cats", InvalidChoiceName::Untrimmed),
            ("Ca\0ts", InvalidChoiceName::Character),
            ("{Cats}", InvalidChoiceName::Character),
            ("reset", InvalidChoiceName::Reserved),
        ] {
            assert_eq!(name.parse::<ChoiceName>(), Err(why), "{name:?}");
        }
    }

    #[test]
    fn names_that_a_voter_may_take_for_one_look_alike() {
        let choice = |name: &str| name.parse::<ChoiceName>().unwrap();
        for (one, other) in [
            ("Cats", "cATS"),
            ("Cats", "Ｃａｔｓ"),
            ("Cats", "Ca\u{200b}ts"),
            ("Cats", "\u{feff}Cats"),
            ("Ice cream", "Ice  cream"),
            ("Ice cream", "Ice\u{a0}cream"),
            ("Ice cream", "Icecream"),
            ("Äpfel", "A\u{308}pfel"),
            ("Straße", "STRASSE"),
            ("ΟΔΟΣ", "οδος"),
            ("❤", "❤\u{fe0f}"),
            ("ﬁsh", "Fish"),
            ("ｶﾞ", "ガ"),
        ] {
            assert!(choice(one).looks_like(&choice(other)), "{one:?} {other:?}");
        }
        for (one, other) in
            [("Cats", "Dogs"), ("Cats", "Çats"), ("A", "B"), ("😺", "😸"), ("C", "C++"), ("1", "2")]
        {
            assert!(!choice(one).looks_like(&choice(other)), "{one:?} {other:?}");
        }
        for (name, is_visible) in
            [("\u{200b}", false), ("\u{3164}", false), ("\u{2800}\u{ad}", false), (".", true)]
        {
            assert_eq!(choice(name).is_visible(), is_visible, "{name:?}");
        }
    }

    #[test]
    fn equal_choices_are_rejected_and_similar_ones_are_two() {
        let choice = |name: &str| name.parse::<ChoiceName>().unwrap();
        assert!(Choices::new(choice("Cats"), choice("Cats")).is_err());
        let choices = Choices::new(choice("cats"), choice("CATS")).unwrap();
        assert_eq!(choices.find("cats"), Some(Choice::First));
        assert_eq!(choices.find("CATS"), Some(Choice::Second));
        assert_eq!(choices.find("Cats"), None);
    }
}
