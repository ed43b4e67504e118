//! Redis: the contract, and the original's keys.

use voting_storage::{BallotId, Cast, Category, Choices, StoreError, Tally, open};
use voting_tests::servers::Redis;

use crate::contract::{ballot, contract};

async fn empty() -> (String, Redis) {
    let redis = Redis::database().await;
    (redis.url(), redis)
}

contract!(empty());

#[tokio::test]
async fn an_originals_redis_is_taken_over_in_place() {
    let (url, redis) = empty().await;
    redis.query::<()>("SET", &["Cats", "7"]).await;
    redis.query::<()>("SET", &["Dogs", "3"]).await;
    let store = open(&url.parse().unwrap(), &Choices::default()).unwrap();
    assert_eq!(store.tally().await.unwrap(), Tally::new(7, 3));
    store.cast(ballot(Category::First)).await.unwrap();
    // An original that still runs counts on, and reads what we count.
    redis.query::<()>("INCR", &["Cats"]).await;
    assert_eq!(redis.query::<u64>("GET", &["Cats"]).await, 9);
    assert_eq!(store.tally().await.unwrap(), Tally::new(9, 3));
    store.reset().await.unwrap();
    assert_eq!(redis.query::<String>("GET", &["Cats"]).await, "0");
}

#[tokio::test]
async fn ids_expire_after_they_are_no_longer_taken() {
    let (url, redis) = empty().await;
    let store = open(&url.parse().unwrap(), &Choices::default()).unwrap();
    store.cast(ballot(Category::Second)).await.unwrap();
    let keys: Vec<String> = redis.query("KEYS", &["voting:*"]).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    let seconds: u64 = redis.query("TTL", &[&keys[0]]).await;
    let remembered = BallotId::REMEMBERED.as_secs();
    assert!((remembered..=remembered + 60).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn a_key_that_is_no_count_is_an_error_that_changes_nothing() {
    let (url, redis) = empty().await;
    redis.query::<()>("SET", &["Dogs", "many"]).await;
    let store = open(&url.parse().unwrap(), &Choices::default()).unwrap();
    let vote = ballot(Category::First);
    assert!(matches!(store.cast(vote).await, Err(StoreError::Unusable(_))));
    assert!(matches!(store.tally().await, Err(StoreError::Unusable(_))));
    redis.query::<()>("SET", &["Dogs", "0"]).await;
    assert_eq!(store.cast(vote).await.unwrap(), Cast::Counted);
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 0));
}

#[tokio::test]
async fn keys_of_a_choice_share_its_hash_slot() {
    let (url, redis) = empty().await;
    let store = open(&url.parse().unwrap(), &Choices::default()).unwrap();
    store.cast(ballot(Category::Second)).await.unwrap();
    store.snapshot().await.unwrap();
    let keys: Vec<String> = redis.query("KEYS", &["voting:*"]).await;
    assert_eq!(keys.len(), 3);
    for key in keys {
        let choice = key.split(['{', '}']).nth(1).unwrap();
        assert!(["Cats", "Dogs"].contains(&choice), "{key}");
    }
}
