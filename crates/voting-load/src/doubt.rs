//! What an account can't tell, and why.

use std::fmt;

use crate::audit::Store;
use crate::picture::shown;

/// What an account can't tell of a store, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The results are lower than the known ballots.
    Fell {
        /// The release of the store.
        storage: String,
        /// Number of missing votes.
        votes: u64,
    },
    /// The results are higher than the known ballots.
    Rose {
        /// The release of the store.
        storage: String,
        /// Number of unexplained votes.
        votes: u64,
    },
    /// Votes came while no ballot was cast.
    Others {
        /// The release of the store.
        storage: String,
        /// Number of these votes.
        votes: u64,
    },
    /// Voters came from another store with a page of that one.
    Moved {
        /// The release of the store.
        storage: String,
        /// Number of their ballots.
        ballots: u64,
    },
    /// No voter reaches the store any more.
    Unreachable {
        /// The release of the store.
        storage: String,
        /// Number of its ballots.
        ballots: u64,
    },
    /// The audit's own attempt got no answer, or another store took it.
    Undecided {
        /// The release of the store.
        storage: String,
        /// Number of these ballots.
        ballots: u64,
    },
}

impl Doubt {
    /// The doubts about a store, of whose results these numbers of votes are missing and unexplained.
    pub(crate) fn of(store: &Store, sums: Option<[u64; 2]>) -> Vec<Self> {
        let storage = || shown(&store.storage).to_owned();
        let undecided = store.ballots.iter().filter(|ballot| ballot.was_counted.is_none()).count() as u64;
        if store.results.is_none() {
            return vec![Self::Unreachable { storage: storage(), ballots: undecided }];
        }
        let mut doubts = Vec::new();
        if undecided > 0 {
            doubts.push(Self::Undecided { storage: storage(), ballots: undecided });
        }
        if store.moved > 0 {
            doubts.push(Self::Moved { storage: storage(), ballots: store.moved });
        }
        match sums {
            _ if store.others > 0 => doubts.push(Self::Others { storage: storage(), votes: store.others }),
            Some([missing, _]) if missing > 0 => {
                doubts.push(Self::Fell { storage: storage(), votes: missing });
            }
            Some([_, extra]) if extra > 0 => doubts.push(Self::Rose { storage: storage(), votes: extra }),
            _ => {}
        }
        doubts
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fell { storage, votes } => write!(
                f,
                "storage {storage}: {votes} votes are missing from the results: the poll was reset meanwhile, or the store lost \
                 them; doubled votes can't be told"
            ),
            Self::Rose { storage, votes } => write!(
                f,
                "storage {storage}: {votes} votes in the results are of no ballot: doubled, unless the poll had other voters \
                 meanwhile"
            ),
            Self::Others { storage, votes } => write!(
                f,
                "storage {storage}: {votes} votes came while no ballot was cast: the poll had other voters, so doubled votes \
                 can't be told, nor counted ones that the results lack"
            ),
            Self::Moved { storage, ballots } => write!(
                f,
                "storage {storage}: {ballots} ballots came from the page of another store, so its results tell neither lost \
                 nor doubled votes"
            ),
            Self::Unreachable { storage, ballots } => write!(
                f,
                "storage {storage}: no voter reaches it any more, so its {ballots} ballots can't be audited"
            ),
            Self::Undecided { storage, ballots } => write!(
                f,
                "storage {storage}: {ballots} ballots were counted before the audit or by it, which can't be told"
            ),
        }
    }
}
