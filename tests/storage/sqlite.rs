//! SQLite: the contract, and its files.

use tempfile::TempDir;
use voting_core::{Choice, Choices, Tally};
use voting_storage::{StoreError, open};
use voting_tests::store::{ballot, cast_until_confirmed};

use crate::contract::contract;

async fn empty() -> (String, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (format!("sqlite:{}/votes.db", folder.path().display()), folder)
}

contract!(empty());

#[tokio::test]
async fn a_file_that_is_not_a_database_is_not_changed() {
    let (url, folder) = empty().await;
    let file = folder.path().join("votes.db");
    let text = "a text, and longer than the head of a database: ".repeat(100);
    std::fs::write(&file, &text).unwrap();
    let store = open(&url.parse().unwrap(), &Choices::default()).unwrap();
    assert!(store.cast(ballot(Choice::First)).await.is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn a_folder_that_is_created_later_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/later/votes.db", folder.path().display());
    let store = open(&url.parse().unwrap(), &Choices::default()).unwrap();
    assert!(matches!(store.cast_new(ballot(Choice::First)).await, Err(StoreError::Unavailable(_))));
    std::fs::create_dir(folder.path().join("later")).unwrap();
    cast_until_confirmed(store.as_ref(), ballot(Choice::First)).await;
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 0));
}
