//! Transfers: merging one store's votes into another. What an operator is told was done is read back first.

use voting_core::tally::Origin;
use voting_core::{Choice, Snapshot, Tally};

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

/// Why votes can't be merged. Nothing was, unless the error of a store says so.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Both stores count their votes under one origin, so one of them would lose votes.
    #[error(
        "both stores have the same origin: they are one store, or one is a copy of the other; allowed: different stores (`voting-storage new-origin` gives a copy its own origin)"
    )]
    SameOrigin,
    /// A copy of a store's own votes has more votes than the store: it lost some, and has perhaps counted others since.
    #[error(
        "the {0} had more votes once than it has now: it was restored to an older state; allowed after `voting-storage new-origin` for the {0}, which keeps the votes that it has counted since"
    )]
    Restored(&'static str),
}

/// Merges the votes of `from` into `to`. Safe at any time and any number of times: see
/// [`voting_core::tally`].
///
/// # Errors
/// [`TransferError`]. After a failure of a store, votes merged until then stay; running the transfer again completes it.
pub async fn transfer(from: &dyn VoteStore, to: &dyn VoteStore) -> Result<Transferred, TransferError> {
    let (votes, transferred) = plan(from, to).await?;
    let after = merge(&votes, to).await?;
    Ok(Transferred { after, ..transferred })
}

/// Merges these counters into `to`, and reads the effect back.
async fn merge(counters: &Snapshot, to: &dyn VoteStore) -> Result<Tally, StoreError> {
    // A permission that is missing for this shows before anything is changed.
    to.tally().await?;
    to.merge(counters).await?;
    expect(to, counters, "the votes were merged").await?;
    to.tally().await.map_err(|error| unread("the votes were merged", &error))
}

/// Resets the votes of a store, and reads the effect back.
///
/// # Errors
/// The store failed, or confirmed the reset and still has the votes.
pub async fn reset(store: &dyn VoteStore) -> Result<(), StoreError> {
    let before = store.snapshot().await?;
    store.reset().await?;
    expect(store, &before.reset(), "the votes were reset").await
}

/// Reads the effect of a change back, which the store has confirmed.
async fn expect(store: &dyn VoteStore, counters: &Snapshot, change: &str) -> Result<(), StoreError> {
    if store.snapshot().await.map_err(|error| unread(change, &error))?.contains(counters) {
        return Ok(());
    }
    Err(StoreError::unconfirmed("it confirmed the change, but its counters do not show it"))
}

fn unread(change: &str, error: &StoreError) -> StoreError {
    StoreError::unconfirmed(format!("{change}, but reading the effect back failed: {error}"))
}

/// Computes what [`transfer`] would do now.
///
/// # Errors
/// [`TransferError`].
pub async fn preview(from: &dyn VoteStore, to: &dyn VoteStore) -> Result<Transferred, TransferError> {
    plan(from, to).await.map(|(_, transferred)| transferred)
}

/// Merges the votes of a backup.
///
/// # Errors
/// [`TransferError`].
pub async fn import(from: &Snapshot, to: &dyn VoteStore) -> Result<Transferred, TransferError> {
    let origins = to.origins().await?;
    let before = to.snapshot().await?;
    if has_lost_votes(&origins, &before, from) {
        return Err(TransferError::Restored("target"));
    }
    let after = merge(from, to).await?;
    Ok(Transferred { from: from.tally(), before: before.tally(), after })
}

/// Checks that the stores can be merged, and computes the result.
async fn plan(from: &dyn VoteStore, to: &dyn VoteStore) -> Result<(Snapshot, Transferred), TransferError> {
    let (own_from, own_to) = (from.origins().await?, to.origins().await?);
    if own_from.iter().any(|origin| own_to.contains(origin)) {
        return Err(TransferError::SameOrigin);
    }
    // In this order, because both stores may take votes and take part in another transfer meanwhile: a store is read after
    // the copies of its counters.
    let copies = to.snapshot().await?;
    let votes = from.snapshot().await?;
    if has_lost_votes(&own_from, &votes, &copies) {
        return Err(TransferError::Restored("source"));
    }
    let before = to.snapshot().await?;
    if has_lost_votes(&own_to, &before, &votes) {
        return Err(TransferError::Restored("target"));
    }
    let mut merged = before.clone();
    merged.merge(&votes);
    let transferred = Transferred { from: votes.tally(), before: before.tally(), after: merged.tally() };
    Ok((votes, transferred))
}

/// Whether a copy of a store's own counters is ahead of the store.
fn has_lost_votes(own: &[Origin], store: &Snapshot, copy: &Snapshot) -> bool {
    Choice::ALL.into_iter().any(|choice| {
        let votes = |snapshot: &Snapshot, origin| {
            snapshot.counters(choice).get(origin).map_or(0, |counter| counter.votes)
        };
        own.iter().any(|origin| votes(copy, origin) > votes(store, origin))
    })
}
