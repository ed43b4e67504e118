//! Reports votes of choices that are not on the poll, once per start: after a change of the names, no vote disappears silently.

use std::sync::Arc;
use std::time::Duration;

use voting_storage::{StoreError, VoteStore};

/// Between two attempts at a store that is down.
const PAUSE: Duration = Duration::from_secs(5);

/// Logs these votes as soon as the store tells.
pub async fn report_other_votes(store: Arc<dyn VoteStore>) {
    loop {
        match store.other_votes().await {
            Ok(others) if others.0.is_empty() => return,
            Ok(others) => {
                tracing::warn!(votes = %others, "the store has votes of other choices");
                return;
            }
            // A retry won't help.
            Err(StoreError::Unusable(cause)) => {
                tracing::info!(%cause, "votes of other choices in the store are unknown");
                return;
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
