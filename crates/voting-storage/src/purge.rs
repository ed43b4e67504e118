//! Deletes expired ballot ids now and then, until the store is dropped.

use std::sync::Weak;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{sleep, timeout};
use voting_core::BallotId;

use crate::backend::{Backend, PurgeTimes, Session as _};
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
    let mut session = backend.connect().await?;
    let in_time =
        |times: Result<_, _>| times.unwrap_or_else(|_| Err(StoreError::unavailable("no answer in time")));
    let times = in_time(timeout(attempt, session.purge_times()).await)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Some(created_before) = created_before(times, now) else { return Ok(()) };
    while timeout(attempt, session.purge_expired(created_before)).await.unwrap_or(Ok(false))? {}
    Ok(())
}

/// The time before which every ballot has provably expired, if any.
///
/// One clock proves nothing, as it may be wrong or jump. So the store's clock and this machine's must agree, and a ballot
/// must have been counted that is newer by more than the retention.
fn created_before(times: PurgeTimes, now: Duration) -> Option<Duration> {
    let server = times.server.unwrap_or(now);
    if server.abs_diff(now) > BallotId::CLOCK_SKEW {
        // `inspect` reports it.
        return None;
    }
    server.min(now).min(times.newest_ballot?).checked_sub(BallotId::RETENTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn kept_from(server: Duration, newest_ballot: Option<Duration>) -> Option<Duration> {
        created_before(PurgeTimes { server: Some(server), newest_ballot }, NOW)
    }

    #[test]
    fn ids_are_purged_after_their_retention() {
        assert_eq!(kept_from(NOW, Some(NOW)), Some(NOW - BallotId::RETENTION));
        assert_eq!(kept_from(NOW - HOUR / 10, Some(NOW)), Some(NOW - HOUR / 10 - BallotId::RETENTION));
        assert_eq!(kept_from(NOW, Some(NOW - 9 * HOUR)), Some(NOW - 9 * HOUR - BallotId::RETENTION));
        let of_file = PurgeTimes { server: None, newest_ballot: Some(NOW) };
        assert_eq!(created_before(of_file, NOW), Some(NOW - BallotId::RETENTION));
    }

    #[test]
    fn nothing_is_purged_while_the_clocks_disagree() {
        for ahead in [HOUR, 26 * HOUR] {
            assert_eq!(kept_from(NOW + ahead, Some(NOW)), None);
            assert_eq!(kept_from(NOW - ahead, Some(NOW)), None);
        }
        assert_eq!(kept_from(NOW, None), None);
    }
}
