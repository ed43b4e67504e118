//! The domain: what is voted on, a vote, the count, and the table of releases. No I/O here.
//!
//! - [`choice`]: the two choices, parsed from configuration; no request can name anything else.
//! - [`ballot`]: one vote, with the id that makes it count exactly once.
//! - [`tally`]: the count, and the mergeable form in which stores exchange it.
//! - [`release`]: the table of releases of every component, and the kinds of store.

pub mod ballot;
pub mod choice;
pub mod release;
pub mod tally;

pub use ballot::{Ballot, BallotId, Cast};
pub use choice::{Choice, ChoiceName, Choices};
pub use release::StoreKind;
pub use tally::{Snapshot, Tally};
