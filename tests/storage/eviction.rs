//! Redis servers that may evict keys.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use tokio::task::JoinSet;
use voting_core::{Cast, Choice, Tally};
use voting_storage::{Severity, StoreError, StoreUrl};
use voting_tests::figure;
use voting_tests::servers::Redis;
use voting_tests::store::{ballot, ballot_of_age, open_patient, open_store};

async fn with_policy(policy: &str) -> Redis {
    with_memory("4mb", policy).await
}

async fn with_memory(limit: &str, policy: &str) -> Redis {
    Redis::with(&["--save", "", "--maxmemory", limit, "--maxmemory-policy", policy]).await
}

/// Casts ballots until the memory is full. Returns those that were counted.
async fn fill(url: &str) -> Vec<voting_core::Ballot> {
    let store = open_store(url);
    let mut counted = Vec::new();
    for _ in 0..200 {
        let mut casts = JoinSet::new();
        for _ in 0..500 {
            let (store, vote) = (store.clone(), ballot(Choice::First));
            casts.spawn(async move { (vote, store.cast_new(vote).await) });
        }
        let before = counted.len();
        for (vote, cast) in casts.join_all().await {
            match cast {
                Ok(cast) => {
                    assert_eq!(cast, Cast::Counted);
                    counted.push(vote);
                }
                Err(error) => assert!(matches!(error, StoreError::Unusable(_)), "{error}"),
            }
        }
        if counted.len() == before {
            return counted;
        }
    }
    panic!("the memory is not full after {} ballots", counted.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_policy_evicts_a_ballot_id() {
    for policy in ["volatile-lru", "volatile-ttl", "volatile-random", "allkeys-lru", "allkeys-random"] {
        let redis = with_policy(policy).await;
        let counted = fill(&redis.url()).await;
        let store = open_store(&redis.url());
        assert!(counted.len() > 1000, "{policy}: {}", counted.len());
        let sample = counted.iter().step_by(97);
        for vote in sample.clone() {
            assert_eq!(store.cast(*vote).await.unwrap(), Cast::AlreadyCounted, "{policy}");
        }
        let votes = u64::try_from(counted.len()).unwrap();
        assert_eq!(store.tally().await.unwrap(), Tally::new(votes, 0), "{policy}");
        let known = sample.len();
        figure(
            policy,
            format!("{votes} ballots until the memory is full, {known} of {known} repeats recognized"),
        );
    }
}

/// The hash table of a set doubles at 65,536 ids, here by more memory than is free.
#[tokio::test]
async fn a_growing_set_of_ids_evicts_nothing() {
    let redis = with_memory("100mb", "noeviction").await;
    // All of one minute, so of one set.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let created = UNIX_EPOCH + Duration::from_secs(now.as_secs() / 60 * 60 - 30);
    let cast = async |ballots: usize| {
        let store = open_store(&redis.url());
        let mut counted = 0;
        for _ in 0..ballots / 500 {
            let votes = (0..500).map(|_| ballot_of_age(Choice::First, created.elapsed().unwrap()));
            let casts = join_all(votes.map(|vote| store.cast_new(vote))).await;
            counted += casts.iter().filter(|cast| matches!(cast, Ok(Cast::Counted))).count();
        }
        counted
    };
    let info = async |section: &str, field: &str| -> usize {
        let text: String = redis.query("INFO", &[section]).await;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.unwrap().parse().unwrap()
    };
    assert_eq!(cast(65_000).await, 65_000);
    let limit = (info("memory", "used_memory").await * 100 / 85).to_string();
    redis.query::<()>("CONFIG", &["SET", "maxmemory", &limit, "maxmemory-policy", "allkeys-lru"]).await;
    let more = cast(2000).await;
    assert_eq!(info("stats", "evicted_keys").await, 0, "after {more} more ballots");
    let votes = u64::try_from(65_000 + more).unwrap();
    assert_eq!(open_store(&redis.url()).tally().await.unwrap(), Tally::new(votes, 0));
}

#[tokio::test]
async fn a_redis_that_has_evicted_keys_takes_no_ballots_until_its_policy_is_changed() {
    let redis = with_policy("allkeys-lru").await;
    let store = open_store(&redis.url());
    let vote = ballot(Choice::First);
    assert_eq!(store.cast(vote).await.unwrap(), Cast::Counted);
    let warned = |severity| {
        let findings = store.findings();
        let eviction = findings.iter().find(|finding| finding.subject == "eviction");
        eviction.is_some_and(|finding| finding.severity == severity && finding.text.contains("allkeys-lru"))
    };
    assert!(warned(Severity::Warning), "{:?}", store.findings());

    // Another client fills the memory.
    let text = "x".repeat(100_000);
    for key in 0..60 {
        redis.query::<()>("SET", &[&format!("other:{key}"), &text]).await;
    }
    let refused = ballot(Choice::First);
    let error = store.cast_new(refused).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unusable(cause) if cause.contains("maxmemory-policy")), "{error}");
    let fresh = open_store(&redis.url());
    fresh.ping().await.unwrap();
    let findings = fresh.findings();
    assert!(findings.iter().any(|finding| finding.severity == Severity::Refusal), "{findings:?}");

    let url: StoreUrl = redis.url().parse().unwrap();
    let accepting = open_patient(&url.allowing_eviction(true), &voting_core::Choices::default());
    assert_eq!(accepting.cast(ballot(Choice::Second)).await.unwrap(), Cast::Counted);

    redis.query::<()>("CONFIG", &["SET", "maxmemory-policy", "noeviction", "maxmemory", "100mb"]).await;
    let fresh = open_store(&redis.url());
    assert_eq!(fresh.cast(refused).await.unwrap(), Cast::Counted);
    assert!(fresh.findings().iter().all(|finding| finding.subject != "eviction"));
}
