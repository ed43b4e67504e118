//! SQLite: the contract, and its files.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tempfile::TempDir;
use voting_core::{Choice, Choices, Tally};
use voting_storage::{StoreError, StoreUrl, open};
use voting_tests::store::{ballot, cast_until_confirmed, open_patient, open_store, tally_until_answered};
use voting_tests::{PATIENCE, eventually};

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
    assert_eq!(tally_until_answered(store.as_ref()).await, Tally::new(1, 0));
}

#[tokio::test]
async fn a_file_of_another_application_is_refused_and_not_changed() {
    let migrations = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on \
                      TIMESTAMP DEFAULT CURRENT_TIMESTAMP, success BOOLEAN, checksum BLOB, execution_time BIGINT);";
    for tables in [
        "CREATE TABLE moz_places (id INTEGER PRIMARY KEY, url TEXT)".to_owned(),
        "CREATE TABLE ballots (id TEXT PRIMARY KEY)".to_owned(),
        "CREATE VIEW ballots AS SELECT 1 AS id".to_owned(),
        "CREATE TABLE own_origin (x INT)".to_owned(),
        migrations.to_owned(),
        format!("{migrations} INSERT INTO _sqlx_migrations VALUES (1, 'create', NULL, TRUE, x'00', 1)"),
        "PRAGMA journal_mode = WAL; CREATE TABLE ballots (id TEXT PRIMARY KEY)".to_owned(),
    ] {
        let (url, folder) = empty().await;
        let file = folder.path().join("votes.db");
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(tables.clone()))).await.unwrap();
        connection.close().await.unwrap();
        let before = std::fs::read(&file).unwrap();
        for url in [url.parse::<StoreUrl>().unwrap(), url.parse::<StoreUrl>().unwrap().existing()] {
            let store = open_patient(&url, &Choices::default());
            let error = store.cast_new(ballot(Choice::First)).await.unwrap_err();
            let StoreError::Unusable(cause) = &error else { panic!("{tables}: {error}") };
            assert!(cause.contains("; allowed: "), "{cause}");
            if !tables.starts_with("PRAGMA") {
                assert!(cause.contains("is of another application (it has the table "), "{tables}: {cause}");
            }
        }
        // Connections are closed in the background.
        eventually("the file is as before", PATIENCE, async || std::fs::read(&file).unwrap() == before).await;
    }
}

#[tokio::test]
async fn a_file_of_ours_that_lost_its_log_is_used() {
    let (url, folder) = empty().await;
    open_store(&url).cast(ballot(Choice::First)).await.unwrap();
    let options = SqliteConnectOptions::new().filename(folder.path().join("votes.db"));
    let mut connection = options.connect().await.unwrap();
    let copy = folder.path().join("copy.db");
    let vacuum = format!("VACUUM INTO '{}'", copy.display());
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(vacuum))).await.unwrap();
    let store = open_store(&format!("sqlite:{}", copy.display()));
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 0));
}
