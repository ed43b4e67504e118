//! Stores and casts for tests that are not about deadlines: they also work on a machine that is busy with other tests.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use voting_core::{Ballot, BallotId, Cast, Choice, Choices, Tally};
use voting_storage::{StoreError, StoreMetrics, StoreUrl, Timeouts, VoteStore, open_with};

use crate::timing::PATIENCE;

/// A new ballot.
pub fn ballot(choice: Choice) -> Ballot {
    Ballot { id: BallotId::new(), choice }
}

/// A new ballot of a page that was loaded this long ago.
pub fn ballot_of_age(choice: Choice, age: Duration) -> Ballot {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - age;
    let (millis, [.., a, b]) = (format!("{:012x}", created.as_millis()), *BallotId::new().as_bytes());
    let random: String = BallotId::new().to_string()[24..].to_owned();
    let id = format!("{}-{}-7{a:02x}0-8{b:02x}0-{random}", &millis[..8], &millis[8..]);
    Ballot { id: id.parse().unwrap(), choice }
}

/// [`open_patient`] for the default choices.
pub fn open_store(url: &str) -> Arc<dyn VoteStore> {
    open_patient(&url.parse().unwrap(), &Choices::default())
}

/// Opens a store with timeouts that a busy machine does not reach.
pub fn open_patient(url: &StoreUrl, choices: &Choices) -> Arc<dyn VoteStore> {
    let timeouts = Timeouts {
        deadline: Duration::from_secs(30),
        attempt: Duration::from_secs(20),
        connect: Duration::from_secs(10),
    };
    open_with(url, choices, timeouts, StoreMetrics::default()).unwrap()
}

/// Opens a store with these timeouts, for the default choices.
pub fn open_limited(url: &str, timeouts: Timeouts) -> Arc<dyn VoteStore> {
    open_with(&url.parse().unwrap(), &Choices::default(), timeouts, StoreMetrics::default()).unwrap()
}

/// The results of a store that works.
pub async fn tally_until_answered(store: &dyn VoteStore) -> Tally {
    let start = Instant::now();
    loop {
        match store.tally().await {
            Ok(tally) => return tally,
            Err(error) => assert!(start.elapsed() < PATIENCE, "no results within {PATIENCE:?}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Casts a ballot until the store confirms it. The result is that of the first attempt that may have taken effect.
pub async fn cast_until_confirmed(store: &dyn VoteStore, ballot: Ballot) -> Cast {
    let start = Instant::now();
    let mut is_open = false;
    loop {
        match store.cast(ballot).await {
            Ok(Cast::AlreadyCounted) if is_open => return Cast::Counted,
            Ok(cast) => return cast,
            Err(error) if start.elapsed() > PATIENCE => panic!("not cast within {PATIENCE:?}: {error}"),
            Err(error) => is_open |= matches!(error, StoreError::Unconfirmed(_)),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
