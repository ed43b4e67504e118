//! Bringing one store's votes into another.

use crate::store::{StoreError, VoteStore};
use crate::tally::Tally;

/// What a transfer did, or would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// The votes of the store that was read.
    pub from: Tally,
    /// The votes of the other store before.
    pub before: Tally,
    /// Its votes with the transfer.
    pub after: Tally,
}

/// Merges the votes of `from` into `to`. Safe at any moment and any number of times: see [`crate::tally`].
///
/// # Errors
/// A store failed. What was merged until then stays; a transfer that is run again does the rest.
pub async fn transfer(from: &dyn VoteStore, to: &dyn VoteStore) -> Result<Transferred, StoreError> {
    let transferred = preview(from, to).await?;
    to.merge(&from.snapshot().await?).await?;
    Ok(Transferred { after: to.tally().await?, ..transferred })
}

/// What [`transfer`] would do now.
///
/// # Errors
/// A store failed.
pub async fn preview(from: &dyn VoteStore, to: &dyn VoteStore) -> Result<Transferred, StoreError> {
    let (from, to) = (from.snapshot().await?, to.snapshot().await?);
    let mut merged = to.clone();
    merged.merge(&from);
    Ok(Transferred { from: from.tally(), before: to.tally(), after: merged.tally() })
}
