//! Sharded polls: the contract, and the distribution of the votes.

use std::time::Duration;

use voting_core::{Ballot, Cast, Choice, Tally};
use voting_storage::transfer::transfer;
use voting_storage::{Timeouts, VoteStore};
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::{MySql, Redis};
use voting_tests::store::{ballot, cast_until_confirmed, open_limited, open_store};
use voting_tests::{ClosedPort, PATIENCE, eventually, figure};

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
    let store = open_limited(&url, timeouts);
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

/// Casts ballots until each shard has some, and returns them.
async fn vote(store: &dyn VoteStore) -> Vec<Ballot> {
    let ballots: Vec<_> = (0..30).map(|_| ballot(Choice::First)).collect();
    for ballot in &ballots {
        assert_eq!(cast_until_confirmed(store, *ballot).await, Cast::Counted);
    }
    ballots
}

async fn all_are_known(store: &dyn VoteStore, ballots: &[Ballot], case: &str) {
    for ballot in ballots {
        assert_eq!(store.cast(*ballot).await.unwrap(), Cast::AlreadyCounted, "{case}");
    }
}

#[tokio::test]
async fn a_shard_under_another_name_keeps_its_ballots() {
    let (redis, mysql) = (Redis::databases(2).await, [MySql::database().await, MySql::database().await]);
    let (mut known, mut cases) = (0, 0);
    for [first, second] in
        [[redis[0].url(), redis[1].url()], [mysql[0].url(), mysql[1].url()]].map(|mut urls| {
            urls.sort();
            urls
        })
    {
        let ballots = vote(open_store(&format!("{first} {second}")).as_ref()).await;
        // It sorts behind the second one.
        let renamed = first.replace("127.0.0.1", "localhost");
        for list in
            [format!("{second} {first}"), format!("{renamed} {second}"), format!("{second} {renamed}")]
        {
            let store = open_store(&list);
            all_are_known(store.as_ref(), &ballots, &list).await;
            assert_eq!(store.tally().await.unwrap(), Tally::new(30, 0), "{list}");
            (known, cases) = (known + ballots.len(), cases + 1);
        }
    }
    figure("a shard under another name", format!("{cases} lists: {known} of {known} ballots recognized"));
}

#[tokio::test]
async fn another_number_of_stores_takes_no_ballots() {
    let (redis, mysql) = (
        Redis::databases(3).await,
        [MySql::database().await, MySql::database().await, MySql::database().await],
    );
    let mut refused = 0;
    for urls in [redis.iter().map(Redis::url).collect::<Vec<_>>(), mysql.iter().map(MySql::url).collect()] {
        let ballots = vote(open_store(&urls[..2].join(" ")).as_ref()).await;
        for (list, cause) in
            [(urls.join(" "), "of 2, not shard"), (urls[0].clone(), "of 2 of a poll; allowed: all")]
        {
            let store = open_store(&list);
            for ballot in &ballots {
                let error = store.cast(*ballot).await.unwrap_err().to_string();
                assert!(error.contains(cause), "{error}");
                refused += 1;
            }
        }
        // A sum of some would be wrong; one alone may be read, for a backup.
        assert!(open_store(&urls.join(" ")).tally().await.is_err());
        assert!(open_store(&urls[0]).tally().await.unwrap().total() < 30);
        // A poll in one store is none of several.
        let alone = open_store(&urls[2]);
        cast_until_confirmed(alone.as_ref(), ballot(Choice::First)).await;
        let error = open_store(&urls[1..].join(" ")).cast(ballots[0]).await.unwrap_err().to_string();
        assert!(error.contains("allowed: "), "{error}");
    }
    figure("a list with more or fewer stores", format!("{refused} of {refused} votes rejected"));
}

#[tokio::test]
async fn stores_that_change_places_take_no_ballots_until_a_restart() {
    let servers = [Redis::own().await, Redis::own().await];
    let mut proxies = Vec::new();
    for server in &servers {
        proxies.push(Proxy::start(server.address(), Mode::Open).await);
    }
    let list =
        proxies.iter().map(|proxy| format!("redis://{}", proxy.address())).collect::<Vec<_>>().join(" ");
    let store = open_store(&list);
    let ballots = vote(store.as_ref()).await;
    for (proxy, server) in proxies.iter().zip(servers.iter().rev()) {
        proxy.set(Mode::Closed);
        proxy.set_target(server.address());
    }
    eventually("the connections are closed", PATIENCE, async || store.tally().await.is_err()).await;
    proxies.iter().for_each(|proxy| proxy.set(Mode::Open));
    for ballot in &ballots {
        let error = store.cast(*ballot).await.unwrap_err().to_string();
        assert!(error.contains("allowed: a restart after stores changed places"), "{error}");
    }
    let store = open_store(&list);
    all_are_known(store.as_ref(), &ballots, "after a restart").await;
    assert_eq!(store.tally().await.unwrap(), Tally::new(30, 0));
}
