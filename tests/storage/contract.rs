//! The contract of every backend.

use std::sync::Arc;

use tokio::task::JoinSet;
use voting_core::{Ballot, BallotId, Cast, Choice, Choices, Tally};
use voting_storage::transfer::{preview, transfer};
use voting_storage::{StoreUrl, VoteStore};
use voting_tests::store::{ballot, open_patient};

/// Generates a test for each function of the contract, on the empty store that `$store` returns. (A function that is
/// missing in the list is an unused function, which the compiler reports.)
macro_rules! contract {
    ($store:expr; $($name:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (url, _server) = $store.await;
                $crate::contract::$name(&url.parse().unwrap()).await;
            }
        )+
    };
    ($store:expr) => {
        $crate::contract::contract! { $store;
            an_empty_store_has_no_votes,
            each_ballot_counts_once,
            one_id_counts_for_one_choice_only,
            a_double_click_in_one_batch_counts_once,
            a_reset_deletes_both_counts_and_keeps_the_ids,
            many_tasks_and_two_handles_add_up_exactly,
            one_ballot_from_many_tasks_counts_once,
            a_voter_sees_their_own_vote,
            a_probe_leaves_no_trace,
            every_valid_name_is_a_separate_choice,
            votes_of_other_names_are_found,
            eight_handles_create_the_schema_concurrently,
            votes_survive_the_handle,
            merging_repeatedly_and_back_changes_nothing,
            a_reset_deletes_only_the_votes_the_store_knows,
        }
    };
}
pub(crate) use contract;

fn store(url: &StoreUrl) -> Arc<dyn VoteStore> {
    open_patient(url, &Choices::default())
}

async fn cast_new(store: &dyn VoteStore, choice: Choice, votes: u64) {
    for _ in 0..votes {
        assert_eq!(store.cast(ballot(choice)).await.unwrap(), Cast::Counted);
    }
}

pub async fn an_empty_store_has_no_votes(url: &StoreUrl) {
    let store = store(url);
    assert_eq!(store.tally().await.unwrap(), Tally::new(0, 0));
    store.ping().await.unwrap();
    store.reset().await.unwrap();
    assert_eq!(store.tally().await.unwrap(), Tally::new(0, 0));
    assert_eq!(store.kind(), url.kind());
}

pub async fn a_probe_leaves_no_trace(url: &StoreUrl) {
    let store = store(url);
    store.probe().await.unwrap();
    assert_eq!(store.tally().await.unwrap(), Tally::new(0, 0));
    cast_new(store.as_ref(), Choice::First, 2).await;
    let before = store.snapshot().await.unwrap();
    store.probe().await.unwrap();
    assert_eq!(store.snapshot().await.unwrap(), before);
}

pub async fn each_ballot_counts_once(url: &StoreUrl) {
    let store = store(url);
    let first = ballot(Choice::First);
    assert_eq!(store.cast(first).await.unwrap(), Cast::Counted);
    assert_eq!(store.cast(first).await.unwrap(), Cast::AlreadyCounted);
    assert_eq!(store.cast(ballot(Choice::Second)).await.unwrap(), Cast::Counted);
    assert_eq!(store.cast(first).await.unwrap(), Cast::AlreadyCounted);
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 1));
}

pub async fn one_id_counts_for_one_choice_only(url: &StoreUrl) {
    let store = store(url);
    for (first, other) in [(Choice::First, Choice::Second), (Choice::Second, Choice::First)] {
        let id = BallotId::new();
        assert_eq!(store.cast(Ballot { id, choice: first }).await.unwrap(), Cast::Counted);
        assert_eq!(store.cast(Ballot { id, choice: other }).await.unwrap(), Cast::AlreadyCounted);
    }
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 1));
}

pub async fn a_double_click_in_one_batch_counts_once(url: &StoreUrl) {
    let store = store(url);
    // The first call connects; the ballots that arrive meanwhile form one batch.
    let connecting = tokio::spawn({
        let store = store.clone();
        async move { store.cast(ballot(Choice::Second)).await }
    });
    let click = ballot(Choice::First);
    let mut clicks = JoinSet::new();
    for _ in 0..10 {
        let store = store.clone();
        clicks.spawn(async move { store.cast(click).await.unwrap() });
    }
    let casts = clicks.join_all().await;
    assert_eq!(casts.iter().filter(|cast| **cast == Cast::Counted).count(), 1);
    connecting.await.unwrap().unwrap();
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 1));
}

pub async fn a_reset_deletes_both_counts_and_keeps_the_ids(url: &StoreUrl) {
    let store = store(url);
    let old = ballot(Choice::First);
    store.cast(old).await.unwrap();
    cast_new(store.as_ref(), Choice::Second, 2).await;
    store.reset().await.unwrap();
    assert_eq!(store.tally().await.unwrap(), Tally::new(0, 0));
    assert_eq!(store.cast(old).await.unwrap(), Cast::AlreadyCounted);
    cast_new(store.as_ref(), Choice::First, 3).await;
    assert_eq!(store.tally().await.unwrap(), Tally::new(3, 0));
}

pub async fn many_tasks_and_two_handles_add_up_exactly(url: &StoreUrl) {
    let handles = [store(url), store(url)];
    let mut tasks = JoinSet::new();
    for task in 0..40_usize {
        let store = handles[task % 2].clone();
        let choice = Choice::ALL[task / 2 % 2];
        tasks.spawn(async move { cast_new(store.as_ref(), choice, 25).await });
    }
    tasks.join_all().await;
    for store in &handles {
        assert_eq!(store.tally().await.unwrap(), Tally::new(500, 500));
    }
}

pub async fn one_ballot_from_many_tasks_counts_once(url: &StoreUrl) {
    let handles = [store(url), store(url)];
    for choice in Choice::ALL.into_iter().cycle().take(10) {
        let same = ballot(choice);
        let mut tasks = JoinSet::new();
        for task in 0..16_usize {
            let store = handles[task % 2].clone();
            tasks.spawn(async move { store.cast(same).await.unwrap() });
        }
        let casts = tasks.join_all().await;
        assert_eq!(casts.iter().filter(|cast| **cast == Cast::Counted).count(), 1, "{casts:?}");
    }
    assert_eq!(handles[0].tally().await.unwrap(), Tally::new(5, 5));
}

pub async fn a_voter_sees_their_own_vote(url: &StoreUrl) {
    let store = store(url);
    let mut voters = JoinSet::new();
    for voter in 0..8_usize {
        let store = store.clone();
        voters.spawn(async move {
            let choice = Choice::ALL[voter % 2];
            let mut seen = 0;
            for _ in 0..25 {
                cast_new(store.as_ref(), choice, 1).await;
                let tally = store.tally().await.unwrap();
                assert!(tally[choice] > seen, "{tally:?} after {seen}");
                seen = tally[choice];
            }
        });
    }
    voters.join_all().await;
    assert_eq!(store.tally().await.unwrap(), Tally::new(100, 100));
}

pub async fn every_valid_name_is_a_separate_choice(url: &StoreUrl) {
    let (medium, long, wide) = ("x".repeat(45), "y".repeat(100), "😺".repeat(100));
    let pairs = [
        ("cats", "CATS"),
        ("Cats", "Çats"),
        ("it's", "\"100%\" `x`; DROP TABLE tallies; --"),
        ("%", "\\"),
        ("😺", "🐶"),
        ("a:b", "a b"),
        (medium.as_str(), long.as_str()),
        (wide.as_str(), "voting:tally"),
    ];
    for (place, (first, second)) in pairs.into_iter().enumerate() {
        let votes = u64::try_from(place).unwrap() + 1;
        let choices = Choices::new(first.parse().unwrap(), second.parse().unwrap()).unwrap();
        let store = open_patient(url, &choices);
        cast_new(store.as_ref(), Choice::First, votes).await;
        cast_new(store.as_ref(), Choice::Second, 1).await;
    }
    for (place, (first, second)) in pairs.into_iter().enumerate() {
        let votes = u64::try_from(place).unwrap() + 1;
        let choices = Choices::new(first.parse().unwrap(), second.parse().unwrap()).unwrap();
        let store = open_patient(url, &choices);
        assert_eq!(store.tally().await.unwrap(), Tally::new(votes, 1), "{first:?} and {second:?}");
    }
}

pub async fn eight_handles_create_the_schema_concurrently(url: &StoreUrl) {
    let mut replicas = JoinSet::new();
    for _ in 0..8 {
        let store = store(url);
        replicas.spawn(async move { store.cast(ballot(Choice::First)).await.unwrap() });
    }
    assert!(replicas.join_all().await.iter().all(|cast| *cast == Cast::Counted));
    assert_eq!(store(url).tally().await.unwrap(), Tally::new(8, 0));
}

pub async fn votes_survive_the_handle(url: &StoreUrl) {
    let same = ballot(Choice::First);
    store(url).cast(same).await.unwrap();
    let again = store(url);
    assert_eq!(again.cast(same).await.unwrap(), Cast::AlreadyCounted);
    assert_eq!(again.tally().await.unwrap(), Tally::new(1, 0));
}

/// An SQLite store as the other end of a transfer.
fn other_store() -> (Arc<dyn VoteStore>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/other.db", folder.path().display());
    (store(&url.parse().unwrap()), folder)
}

pub async fn merging_repeatedly_and_back_changes_nothing(url: &StoreUrl) {
    let store = store(url);
    let (other, _folder) = other_store();
    let (here, there) = (store.as_ref(), other.as_ref());
    cast_new(here, Choice::First, 3).await;
    cast_new(there, Choice::First, 2).await;
    cast_new(there, Choice::Second, 4).await;

    let planned = preview(there, here).await.unwrap();
    assert_eq!((planned.before, planned.after), (Tally::new(3, 0), Tally::new(5, 4)));
    assert_eq!(here.tally().await.unwrap(), Tally::new(3, 0));

    for _ in 0..3 {
        assert_eq!(transfer(there, here).await.unwrap().after, Tally::new(5, 4));
        assert_eq!(transfer(here, there).await.unwrap().after, Tally::new(5, 4));
    }
    cast_new(here, Choice::Second, 1).await;
    cast_new(there, Choice::First, 1).await;
    transfer(here, there).await.unwrap();
    transfer(there, here).await.unwrap();
    assert_eq!(here.tally().await.unwrap(), Tally::new(6, 5));
    assert_eq!(there.tally().await.unwrap(), Tally::new(6, 5));
    assert_eq!(here.snapshot().await.unwrap(), there.snapshot().await.unwrap());
}

pub async fn votes_of_other_names_are_found(url: &StoreUrl) {
    let store = store(url);
    let with_birds = Choices::new("Birds".parse().unwrap(), "Dogs".parse().unwrap()).unwrap();
    let with_birds = open_patient(url, &with_birds);
    assert!(with_birds.other_votes().await.unwrap().0.is_empty());
    cast_new(store.as_ref(), Choice::First, 3).await;
    cast_new(store.as_ref(), Choice::Second, 2).await;
    cast_new(with_birds.as_ref(), Choice::First, 1).await;
    let votes = |name: &str, votes| [(name.to_owned(), votes)].into();
    assert_eq!(with_birds.other_votes().await.unwrap().0, votes("Cats", 3));
    assert_eq!(store.other_votes().await.unwrap().0, votes("Birds", 1));
    store.reset().await.unwrap();
    assert!(with_birds.other_votes().await.unwrap().0.is_empty());
    assert_eq!(store.other_votes().await.unwrap().0, votes("Birds", 1));
}

pub async fn a_reset_deletes_only_the_votes_the_store_knows(url: &StoreUrl) {
    let store = store(url);
    let (other, _folder) = other_store();
    let (here, there) = (store.as_ref(), other.as_ref());
    cast_new(here, Choice::First, 3).await;
    cast_new(there, Choice::Second, 2).await;
    transfer(there, here).await.unwrap();
    // This store does not know the vote when it is reset.
    cast_new(there, Choice::Second, 1).await;
    here.reset().await.unwrap();
    cast_new(here, Choice::First, 1).await;
    for _ in 0..2 {
        transfer(here, there).await.unwrap();
        transfer(there, here).await.unwrap();
        assert_eq!(here.tally().await.unwrap(), Tally::new(1, 1));
        assert_eq!(there.tally().await.unwrap(), Tally::new(1, 1));
    }
    there.reset().await.unwrap();
    transfer(there, here).await.unwrap();
    assert_eq!(here.tally().await.unwrap(), Tally::new(0, 0));
}
