//! Redis Cluster: the contract, and the distribution of the votes.

use voting_core::{Cast, Choice, Choices, Tally};
use voting_tests::servers::RedisCluster;
use voting_tests::store::{ballot, cast_until_confirmed, open_patient, open_store};

use crate::contract::contract;

async fn empty() -> (String, RedisCluster) {
    let cluster = RedisCluster::start().await;
    (cluster.url(5), cluster)
}

contract!(empty());

#[tokio::test]
async fn all_servers_share_the_votes() {
    let cluster = RedisCluster::start().await;
    let store = open_store(&cluster.url(16));
    for _ in 0..160 {
        store.cast(ballot(Choice::First)).await.unwrap();
    }
    assert_eq!(store.tally().await.unwrap(), Tally::new(160, 0));
    for server in &cluster.servers {
        let keys: Vec<String> = server.query("KEYS", &["voting:*:count:Cats"]).await;
        assert!(!keys.is_empty(), "{cluster:?}");
    }
}

#[tokio::test]
async fn another_number_of_parts_takes_no_ballots() {
    let cluster = RedisCluster::start().await;
    let vote = ballot(Choice::First);
    cast_until_confirmed(open_store(&cluster.url(8)).as_ref(), vote).await;
    for parts in [4, 16] {
        let store = open_store(&cluster.url(parts));
        for _ in 0..20 {
            let error = store.cast(ballot(Choice::First)).await.unwrap_err().to_string();
            assert!(error.contains(&format!("it is shard 1 of 8, not shard 1 of {parts}")), "{error}");
        }
    }
    assert!(open_store(&cluster.url(16)).tally().await.is_err());
    assert_eq!(open_store(&cluster.url(8)).cast(vote).await.unwrap(), Cast::AlreadyCounted);
}

#[tokio::test]
async fn the_url_of_a_cluster_is_named() {
    let cluster = RedisCluster::start().await;
    let store = open_store(&cluster.servers[0].url());
    let error = store.cast_new(ballot(Choice::First)).await.unwrap_err().to_string();
    assert!(error.contains("allowed: redis+cluster://"), "{error}");
}

#[tokio::test]
async fn a_migrated_slot_keeps_its_votes() {
    let cluster = RedisCluster::start().await;
    let store = open_patient(&cluster.url(1).parse().unwrap(), &Choices::default());
    let votes = [ballot(Choice::First), ballot(Choice::Second)];
    assert_eq!(store.cast(votes[0]).await.unwrap(), Cast::Counted);

    let slot: u64 = cluster.servers[0].query("CLUSTER", &["KEYSLOT", "voting:{0}:ballots:"]).await;
    let slot = slot.to_string();
    let mut holds = Vec::new();
    for server in &cluster.servers {
        let keys: Vec<String> = server.query("KEYS", &["voting:*"]).await;
        holds.push(!keys.is_empty());
    }
    let from = &cluster.servers[holds.iter().position(|holds| *holds).unwrap()];
    let to = &cluster.servers[holds.iter().position(|holds| !*holds).unwrap()];
    let ids: [String; 2] = [from.query("CLUSTER", &["MYID"]).await, to.query("CLUSTER", &["MYID"]).await];
    to.query::<()>("CLUSTER", &["SETSLOT", &slot, "IMPORTING", &ids[0]]).await;
    from.query::<()>("CLUSTER", &["SETSLOT", &slot, "MIGRATING", &ids[1]]).await;
    let keys: Vec<String> = from.query("CLUSTER", &["GETKEYSINSLOT", &slot, "100"]).await;
    let place = [to.address().ip().to_string(), to.address().port().to_string()];
    for key in &keys {
        from.query::<()>("MIGRATE", &[&place[0], &place[1], key, "0", "60000"]).await;
    }
    for server in [to, from] {
        server.query::<()>("CLUSTER", &["SETSLOT", &slot, "NODE", &ids[1]]).await;
    }

    assert_eq!(store.cast(votes[0]).await.unwrap(), Cast::AlreadyCounted);
    assert_eq!(store.cast(votes[1]).await.unwrap(), Cast::Counted);
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 1));
}
