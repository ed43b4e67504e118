//! Deletes expired ballot ids now and then, until the store is dropped.

use std::sync::Weak;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{sleep, timeout};
use voting_core::BallotId;

use crate::backend::{Backend, Session as _};
use crate::store::StoreError;

const INTERVAL: Duration = Duration::from_secs(10 * 60);

pub(crate) async fn run<B: Backend>(backend: Weak<B>, attempt: Duration) {
    loop {
        sleep(INTERVAL).await;
        let Some(backend) = backend.upgrade() else { return };
        if let Err(error) = purge(backend.as_ref(), attempt).await {
            tracing::warn!(%error, "purging expired ballot ids failed, will retry");
        }
    }
}

async fn purge<B: Backend>(backend: &B, attempt: Duration) -> Result<(), StoreError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let created_before = now.saturating_sub(BallotId::RETENTION);
    let mut session = backend.connect().await?;
    while timeout(attempt, session.purge_expired(created_before)).await.unwrap_or(Ok(false))? {}
    Ok(())
}
