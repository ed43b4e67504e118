//! Transfers: merging one store's votes into another.

use voting_core::Tally;

use crate::store::{StoreError, VoteStore};

/// The effect of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Votes of the source.
    pub from: Tally,
    /// Votes of the target before the transfer.
    pub before: Tally,
    /// Votes of the target after it.
    pub after: Tally,
}

/// Merges the votes of `from` into `to`. Safe at any time and any number of times: see
/// [`voting_core::tally`].
///
/// # Errors
/// A store failed. Votes merged until then stay; running the transfer again completes it.
pub async fn transfer(from: &dyn VoteStore, to: &dyn VoteStore) -> Result<Transferred, StoreError> {
    let transferred = preview(from, to).await?;
    to.merge(&from.snapshot().await?).await?;
    Ok(Transferred { after: to.tally().await?, ..transferred })
}

/// Computes what [`transfer`] would do now.
///
/// # Errors
/// A store failed.
pub async fn preview(from: &dyn VoteStore, to: &dyn VoteStore) -> Result<Transferred, StoreError> {
    let (from, to) = (from.snapshot().await?, to.snapshot().await?);
    let mut merged = to.clone();
    merged.merge(&from);
    Ok(Transferred { from: from.tally(), before: to.tally(), after: merged.tally() })
}
