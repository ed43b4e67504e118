//! A store's counters as a file of JSON lines, for backup.
//!
//! The first line names the format; every other line is a counter. An import merges the file, so it may be repeated, and
//! the store may have taken votes since. Each counter says how many there are (`of`), so that a file that was cut off is
//! noticed. (Not the header, in which older versions reject an unknown field.) Files of older versions have no such number.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use voting_core::tally::{Counter, Origin};
use voting_core::{Choice, Choices, Snapshot};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Line {
    choice: String,
    origin: Origin,
    #[serde(flatten)]
    counter: Counter,
    /// The number of counters in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<NonZeroUsize>,
}

const FORMAT: &str = "voting-storage";
const VERSION: u32 = 1;

/// Why a file can't be imported. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum InvalidBackup {
    /// The first line is not the header of a backup.
    #[error("line 1: not a backup; allowed: what `voting-storage export` of version {VERSION} writes")]
    Format,
    /// A line is not a counter.
    #[error("line {0}: not a counter ({1}); allowed: what `voting-storage export` writes")]
    Counter(usize, serde_json::Error),
    /// A counter has more votes reset than cast.
    #[error("line {0}: \"reset\" is more than \"votes\"; allowed: up to \"votes\"")]
    Negative(usize),
    /// A counter has more votes than any store can count exactly.
    #[error("line {0}: too many \"votes\"; allowed: up to {max}", max = Counter::MAX_VOTES)]
    TooLarge(usize),
    /// A counter of this choice and origin stands in an earlier line.
    #[error("line {0}: repeats a counter: the file is damaged; allowed: a whole backup")]
    Repeated(usize),
    /// Counters are missing, or there are too many.
    #[error("{0} counters instead of {1}: the file is cut off or damaged; allowed: a whole backup")]
    Count(usize, usize),
    /// There is no counter. A backup of an empty store has one, of no votes.
    #[error("line 1: no counter follows: the file is cut off; allowed: a whole backup")]
    NoCounter,
    /// A choice is not on the poll.
    #[error(
        "line {0}: the choice {1:?} is not on this poll; allowed: {2:?} and {3:?} (VOTE1VALUE, VOTE2VALUE)"
    )]
    Choice(usize, String, String, String),
}

/// Serializes the counters.
///
/// # Errors
/// None in practice: every part of a snapshot has a JSON form.
pub fn write(snapshot: &Snapshot, choices: &Choices) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string(&Header { format: FORMAT.to_owned(), version: VERSION })?;
    text.push('\n');
    let counters = Choice::ALL.into_iter().flat_map(|choice| {
        snapshot.counters(choice).iter().map(move |(&origin, &counter)| (choice, origin, counter))
    });
    let mut counters: Vec<_> = counters.collect();
    if counters.is_empty() {
        counters.push((Choice::First, Origin::new(), Counter::default()));
    }
    let of = NonZeroUsize::new(counters.len());
    for (choice, origin, counter) in counters {
        let choice = choices.name(choice).to_string();
        text += &serde_json::to_string(&Line { choice, origin, counter, of })?;
        text.push('\n');
    }
    Ok(text)
}

/// Parses a text that [`write()`] made.
///
/// # Errors
/// [`InvalidBackup`] names the line.
pub fn read(text: &str, choices: &Choices) -> Result<Snapshot, InvalidBackup> {
    // Some editors begin a file with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = text.lines().enumerate().map(|(place, line)| (place + 1, line));
    let header = lines.next().and_then(|(_, line)| serde_json::from_str::<Header>(line).ok());
    if !header.is_some_and(|header| header.format == FORMAT && header.version == VERSION) {
        return Err(InvalidBackup::Format);
    }
    let mut snapshot = Snapshot::default();
    let (mut counters, mut expected) = (HashSet::new(), None);
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let line: Line = serde_json::from_str(line).map_err(|error| InvalidBackup::Counter(number, error))?;
        if line.counter.votes > Counter::MAX_VOTES {
            return Err(InvalidBackup::TooLarge(number));
        }
        if line.counter.reset_votes > line.counter.votes {
            return Err(InvalidBackup::Negative(number));
        }
        let Some(choice) = choices.find(&line.choice) else {
            let [first, second] = Choice::ALL.map(|choice| choices.name(choice).to_string());
            return Err(InvalidBackup::Choice(number, line.choice, first, second));
        };
        if !counters.insert((choice, line.origin)) {
            return Err(InvalidBackup::Repeated(number));
        }
        expected = line.of.or(expected);
        if line.counter != Counter::default() {
            snapshot.merge_counter(choice, line.origin, line.counter);
        }
    }
    let count = counters.len();
    match expected {
        Some(expected) if expected.get() != count => Err(InvalidBackup::Count(count, expected.get())),
        None if count == 0 => Err(InvalidBackup::NoCounter),
        _ => Ok(snapshot),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let choices = Choices::default();
        let mut snapshot = Snapshot::default();
        snapshot.merge_counter(Choice::First, Origin::new(), Counter { votes: 7, reset_votes: 2 });
        snapshot.merge_counter(Choice::First, Origin::new(), Counter { votes: 1, reset_votes: 0 });
        snapshot.merge_counter(Choice::Second, Origin::AZUREVOTE, Counter { votes: 9, reset_votes: 9 });
        let text = write(&snapshot, &choices).unwrap();
        assert_eq!(read(&text, &choices).unwrap(), snapshot);
        assert_eq!(text.lines().count(), 4);
    }

    #[test]
    fn a_file_that_is_cut_off_is_refused() {
        let choices = Choices::default();
        let mut snapshot = Snapshot::default();
        for choice in Choice::ALL {
            snapshot.merge_counter(choice, Origin::new(), Counter { votes: 7, reset_votes: 2 });
            snapshot.merge_counter(choice, Origin::new(), Counter { votes: 1, reset_votes: 0 });
        }
        for snapshot in [snapshot, Snapshot::default()] {
            let text = write(&snapshot, &choices).unwrap();
            assert_eq!(read(&text, &choices).unwrap(), snapshot);
            for length in 0..text.trim_end().len() {
                assert!(read(&text[..length], &choices).is_err(), "{length} of {text}");
            }
            let repeated = format!("{text}{}\n", text.lines().last().unwrap());
            assert!(read(&repeated, &choices).is_err());
        }
    }

    #[test]
    fn a_file_of_an_older_version_is_accepted() {
        let choices = Choices::default();
        let line =
            format!("{{\"choice\":\"Cats\",\"origin\":\"{}\",\"votes\":3,\"reset\":1}}\n", Origin::AZUREVOTE);
        for mark in ["", "\u{feff}"] {
            let text = format!("{mark}{{\"format\":\"voting-storage\",\"version\":1}}\r\n{line}");
            assert_eq!(read(&text, &choices).unwrap().tally(), voting_core::Tally::new(2, 0));
        }
    }

    #[test]
    fn another_file_is_refused_with_its_line() {
        let choices = Choices::default();
        let error = |text: &str| read(text, &choices).unwrap_err().to_string();
        let header = "{\"format\":\"voting-storage\",\"version\":1}\n";
        let line = |choice: &str, votes: u64, reset: u64| {
            format!(
                "{{\"choice\":\"{choice}\",\"origin\":\"{}\",\"votes\":{votes},\"reset\":{reset}}}\n",
                Origin::AZUREVOTE
            )
        };
        assert!(error("").starts_with("line 1: not a backup"));
        assert!(error("Cats,2\n").starts_with("line 1: not a backup"));
        assert!(error(&format!("{header}\nCats,2")).starts_with("line 3: not a counter"));
        assert!(
            error(&format!("{header}{}", line("Birds", 1, 0))).starts_with("line 2: the choice \"Birds\"")
        );
        assert!(error(&format!("{header}{}", line("Cats", 1, 2))).starts_with("line 2: \"reset\""));
        let twice = [line("Cats", 2, 0), line("Cats", 1, 0)].concat();
        assert!(error(&format!("{header}{twice}")).starts_with("line 3: repeats a counter"));
        let too_large = error(&format!("{header}{}", line("Cats", Counter::MAX_VOTES + 1, 0)));
        assert_eq!(too_large, "line 2: too many \"votes\"; allowed: up to 9007199254740991");
    }
}
