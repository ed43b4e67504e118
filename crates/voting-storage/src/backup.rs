//! A store's counters as a file of JSON lines, for backup.
//!
//! The first line names the format; every other line is a counter. An import merges the file, so it may be repeated, and
//! the store may have taken votes since.

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
    #[error("line {0}: not a counter: {1}")]
    Counter(usize, serde_json::Error),
    /// A counter has more votes reset than cast.
    #[error("line {0}: \"reset\" is more than \"votes\"")]
    Negative(usize),
    /// A counter has more votes than any store can count exactly.
    #[error("line {0}: too many \"votes\"; allowed: up to {max}", max = Counter::MAX_VOTES)]
    TooLarge(usize),
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
    for choice in Choice::ALL {
        for (&origin, &counter) in snapshot.counters(choice) {
            let choice = choices.name(choice).to_string();
            text += &serde_json::to_string(&Line { choice, origin, counter })?;
            text.push('\n');
        }
    }
    Ok(text)
}

/// Parses a text that [`write()`] made.
///
/// # Errors
/// [`InvalidBackup`] names the line.
pub fn read(text: &str, choices: &Choices) -> Result<Snapshot, InvalidBackup> {
    let mut lines = text.lines().enumerate().map(|(place, line)| (place + 1, line));
    let header = lines.next().and_then(|(_, line)| serde_json::from_str::<Header>(line).ok());
    if !header.is_some_and(|header| header.format == FORMAT && header.version == VERSION) {
        return Err(InvalidBackup::Format);
    }
    let mut snapshot = Snapshot::default();
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
        snapshot.merge_counter(choice, line.origin, line.counter);
    }
    Ok(snapshot)
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
        let too_large = error(&format!("{header}{}", line("Cats", Counter::MAX_VOTES + 1, 0)));
        assert_eq!(too_large, "line 2: too many \"votes\"; allowed: up to 9007199254740991");
    }
}
