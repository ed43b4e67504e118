//! Sharded polls: the contract, and the distribution of the votes.

use std::time::Duration;

use voting_core::{Choice, Choices, Tally};
use voting_storage::transfer::transfer;
use voting_storage::{StoreMetrics, Timeouts, open_with};
use voting_tests::ClosedPort;
use voting_tests::servers::{MySql, Redis};
use voting_tests::store::{ballot, open_store};

use crate::contract::contract;

async fn redis() -> (String, Vec<Redis>) {
    let parts = Redis::databases(3).await;
    (parts.iter().map(Redis::url).collect::<Vec<_>>().join(" "), parts)
}

async fn mysql() -> (String, Vec<MySql>) {
    let parts = vec![MySql::database().await, MySql::database().await];
    (parts.iter().map(MySql::url).collect::<Vec<_>>().join(" "), parts)
}

mod on_redis {
    use super::*;

    contract!(redis());
}

mod on_mysql {
    use super::*;

    contract!(mysql());
}

#[tokio::test]
async fn votes_are_distributed_evenly_over_the_shards() {
    let (url, parts) = redis().await;
    let store = open_store(&url);
    for _ in 0..300 {
        store.cast(ballot(Choice::First)).await.unwrap();
    }
    let mut shares = Vec::new();
    for part in &parts {
        shares.push(part.query::<u64>("GET", &["Cats"]).await);
    }
    assert_eq!(shares.iter().sum::<u64>(), 300);
    // Three equal shares; 40 is five standard deviations.
    assert!(shares.iter().all(|share| share.abs_diff(100) < 40), "{shares:?}");
}

#[tokio::test]
async fn votes_move_between_a_single_and_a_sharded_store_and_back() {
    let (url, _parts) = redis().await;
    let single = MySql::database().await;
    let (split, single) = (open_store(&url), open_store(&single.url()));
    for _ in 0..30 {
        split.cast(ballot(Choice::First)).await.unwrap();
        single.cast(ballot(Choice::Second)).await.unwrap();
    }
    for _ in 0..2 {
        transfer(split.as_ref(), single.as_ref()).await.unwrap();
        transfer(single.as_ref(), split.as_ref()).await.unwrap();
        assert_eq!(split.tally().await.unwrap(), Tally::new(30, 30));
        assert_eq!(single.tally().await.unwrap(), Tally::new(30, 30));
    }
    // A reset also deletes transferred votes.
    split.reset().await.unwrap();
    transfer(split.as_ref(), single.as_ref()).await.unwrap();
    assert_eq!(single.tally().await.unwrap(), Tally::default());
}

#[tokio::test]
async fn an_unavailable_shard_refuses_its_ballots_and_no_others() {
    let (url, _parts) = redis().await;
    let down = ClosedPort::reserve();
    let url = format!("{url} redis://{}", down.address());
    // The ballots of the other shards are counted long before this deadline, also on a busy machine.
    let timeouts = Timeouts { deadline: Duration::from_secs(15), ..Timeouts::default() };
    let url = url.parse().unwrap();
    let store = open_with(&url, &Choices::default(), timeouts, StoreMetrics::default()).unwrap();
    let casts = (0..40).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.cast(ballot(Choice::First)).await.is_ok() })
    });
    let mut counted = 0;
    for cast in casts.collect::<Vec<_>>() {
        counted += u32::from(cast.await.unwrap());
    }
    assert!((15..40).contains(&counted), "{counted}");
    // A sum without one of the shards would be wrong.
    assert!(store.tally().await.is_err());
}
