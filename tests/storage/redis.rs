//! Redis: the contract, and the original's keys.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use voting_core::{Ballot, Cast, Choice, Tally};
use voting_storage::StoreError;
use voting_tests::servers::Redis;
use voting_tests::store::{ballot, open_store};
use voting_tests::{PATIENCE, eventually, figure};

use crate::contract::contract;

async fn empty() -> (String, Redis) {
    let redis = Redis::database().await;
    (redis.url(), redis)
}

contract!(empty());

#[tokio::test]
async fn a_redis_of_the_original_is_adopted_in_place() {
    let (url, redis) = empty().await;
    redis.query::<()>("SET", &["Cats", "7"]).await;
    redis.query::<()>("SET", &["Dogs", "3"]).await;
    let store = open_store(&url);
    assert_eq!(store.tally().await.unwrap(), Tally::new(7, 3));
    store.cast(ballot(Choice::First)).await.unwrap();
    // A running original keeps counting and reads the new votes.
    redis.query::<()>("INCR", &["Cats"]).await;
    assert_eq!(redis.query::<u64>("GET", &["Cats"]).await, 9);
    assert_eq!(store.tally().await.unwrap(), Tally::new(9, 3));
    store.reset().await.unwrap();
    assert_eq!(redis.query::<String>("GET", &["Cats"]).await, "0");
}

/// The commands that the documented user may run, as `ACL SETUSER` takes them.
fn documented_commands() -> Vec<String> {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let line = guide.lines().find_map(|line| line.split_once("ACL SETUSER voting on ")).unwrap().1;
    let commands = line.split_whitespace().filter(|word| word.starts_with('+'));
    commands.map(|word| word[1..].to_owned()).collect()
}

#[tokio::test]
async fn a_missing_permission_leaves_no_half_of_a_write() {
    let commands = documented_commands();
    assert!(commands.len() > 15, "{commands:?}");
    let mut refused = [0, 0];
    for missing in &commands {
        let (redis, source) = (Redis::own().await, Redis::database().await);
        let mut user = vec!["SETUSER", "voting", "on", ">password", "~*", "-@all"];
        let granted: Vec<String> =
            commands.iter().filter(|one| *one != missing).map(|one| format!("+{one}")).collect();
        user.extend(granted.iter().map(String::as_str));
        redis.query::<()>("ACL", &user).await;
        let store = open_store(&redis.url().replace("redis://", "redis://voting:password@"));
        let source = open_store(&source.url());
        source.cast(ballot(Choice::Second)).await.unwrap();
        let counters = source.snapshot().await.unwrap();

        let vote = ballot(Choice::First);
        let probe = store.probe().await;
        let cast = store.cast(vote).await;
        assert!(cast.is_ok() || probe.is_err(), "without {missing}: {cast:?}, though {probe:?}");
        let merged = store.merge(&counters).await;
        refused[0] += u32::from(cast.is_err());
        refused[1] += u32::from(merged.is_err());
        redis.query::<()>("ACL", &["SETUSER", "voting", &format!("+{missing}")]).await;
        let place = format!("without {missing}: {cast:?}, {merged:?}");
        eventually("the ballot is counted", PATIENCE, async || store.cast(vote).await.is_ok()).await;
        assert_eq!(store.cast(vote).await.unwrap(), Cast::AlreadyCounted, "{place}");
        store.merge(&counters).await.unwrap();
        assert_eq!(store.tally().await.unwrap(), Tally::new(1, 1), "{place}");
    }
    let ([votes, transfers], all) = (refused, commands.len());
    let measured =
        format!("{votes} votes and {transfers} transfers refused, of {all} each; doubled or lost 0");
    figure("Redis denies one command", measured);
}

#[tokio::test]
async fn a_redis_without_a_needed_command_takes_no_ballots() {
    for command in ["EVALSHA", "TIME", "SADD"] {
        let redis = Redis::with(&["--save", "", "--rename-command", command, "\"\""]).await;
        let error = open_store(&redis.url()).cast_new(ballot(Choice::First)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unusable(_)), "{command}: {error}");
        assert!(error.to_string().contains("docs/operations.md lists"), "{command}: {error}");
    }
}

#[tokio::test]
async fn a_redis_without_smismember_works() {
    // Redis before release 6.2.
    let redis = Redis::with(&["--save", "", "--rename-command", "SMISMEMBER", "\"\""]).await;
    let store = open_store(&redis.url());
    let (first, second) = (ballot(Choice::First), ballot(Choice::Second));
    assert_eq!(store.cast(first).await.unwrap(), Cast::Counted);
    let again = Ballot { choice: Choice::Second, ..first };
    let casts = tokio::join!(store.cast(again), store.cast(second), store.cast(first));
    assert_eq!(casts.0.unwrap(), Cast::AlreadyCounted);
    assert_eq!(casts.1.unwrap(), Cast::Counted);
    assert_eq!(casts.2.unwrap(), Cast::AlreadyCounted);
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 1));
}

#[tokio::test]
async fn a_batch_of_several_minutes_distinguishes_counted_ballots() {
    const MINUTES: u64 = 5;
    let (url, redis) = empty().await;
    let store = open_store(&url);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let made_ago = |minutes: u64, number: u8| {
        let millis = format!("{:012x}", (now - Duration::from_secs(60 * minutes)).as_millis());
        let id = format!("{}-{}-7000-8000-{number:012x}", &millis[..8], &millis[8..]);
        let choice = Choice::ALL[usize::from(number) % 2];
        Ballot { id: id.parse().unwrap(), choice }
    };
    let ballots: Vec<_> =
        (0..20).flat_map(|number| (0..MINUTES).map(move |minutes| (minutes, number))).collect();
    let cast_all = async |ballots: Vec<(u64, u8)>| {
        let mut casts = JoinSet::new();
        for (place, (minutes, number)) in ballots.into_iter().enumerate() {
            let (store, ballot) = (store.clone(), made_ago(minutes, number));
            casts.spawn(async move { (place, store.cast(ballot).await.unwrap()) });
        }
        let mut casts = casts.join_all().await;
        casts.sort_by_key(|(place, _)| *place);
        casts.into_iter().map(|(_, cast)| cast).collect::<Vec<_>>()
    };
    // Every third ballot is cast twice.
    let before = cast_all(ballots.iter().copied().step_by(3).collect()).await;
    assert!(before.iter().all(|cast| *cast == Cast::Counted));
    for (place, cast) in cast_all(ballots.clone()).await.into_iter().enumerate() {
        assert_eq!(cast == Cast::AlreadyCounted, place % 3 == 0, "{:?}", ballots[place]);
    }
    assert_eq!(store.tally().await.unwrap(), Tally::new(50, 50));
    let sets: Vec<String> = redis.query("KEYS", &["voting:*:ballots:*"]).await;
    assert_eq!(sets.len() as u64, MINUTES);
    for set in sets {
        assert_eq!(redis.query::<u64>("SCARD", &[&set]).await, 20);
        // A key with an expiry may be evicted, and the clock of Redis may be wrong.
        assert_eq!(redis.query::<i64>("TTL", &[&set]).await, -1);
    }
}

#[tokio::test]
async fn a_non_numeric_count_is_an_error_without_effect() {
    let (url, redis) = empty().await;
    redis.query::<()>("SET", &["Dogs", "many"]).await;
    let store = open_store(&url);
    let vote = ballot(Choice::First);
    assert!(matches!(store.cast(vote).await, Err(StoreError::Unusable(_))));
    assert!(matches!(store.tally().await, Err(StoreError::Unusable(_))));
    redis.query::<()>("SET", &["Dogs", "0"]).await;
    assert_eq!(store.cast(vote).await.unwrap(), Cast::Counted);
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 0));
}

#[tokio::test]
async fn keys_of_a_choice_share_its_hash_slot() {
    let (url, redis) = empty().await;
    let store = open_store(&url);
    store.cast(ballot(Choice::Second)).await.unwrap();
    store.snapshot().await.unwrap();
    let keys: Vec<String> = redis.query("KEYS", &["voting:*"]).await;
    assert_eq!(keys.len(), 4);
    for key in keys {
        let choice = key.split(['{', '}']).nth(1).unwrap();
        assert!(["Cats", "Dogs"].contains(&choice), "{key}");
    }
}
