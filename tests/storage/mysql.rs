//! MySQL or MariaDB: the contract, the original's table, and the schema.

use std::time::Duration;

use sqlx::Row as _;
use voting_core::{Cast, Choice, Choices, Tally};
use voting_storage::{StoreError, open};
use voting_tests::servers::MySql;
use voting_tests::store::{ballot, ballot_of_age, cast_until_confirmed, open_patient, open_store};
use voting_tests::{PATIENCE, figure};

use crate::contract::contract;

async fn empty() -> (String, MySql) {
    let mysql = MySql::database().await;
    (mysql.url(), mysql)
}

contract!(empty());

/// Creates the original's table with these votes.
async fn azurevote(mysql: &MySql, votes: &[(&str, u32)]) {
    mysql
        .execute(
            "CREATE TABLE azurevote (voteid INT NOT NULL AUTO_INCREMENT PRIMARY KEY, votevalue VARCHAR(45) NULL) \
             DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        )
        .await;
    for (value, count) in votes {
        for _ in 0..*count {
            mysql.execute(&format!("INSERT INTO azurevote (votevalue) VALUES ({value})")).await;
        }
    }
}

#[tokio::test]
async fn a_database_of_the_original_is_adopted_once() {
    let (url, mysql) = empty().await;
    azurevote(&mysql, &[("'Cats'", 4), ("'Dogs'", 2), ("'cats'", 5), ("NULL", 3), ("'Çats'", 1)]).await;
    for _ in 0..3 {
        let store = open_store(&url);
        assert_eq!(store.tally().await.unwrap(), Tally::new(4, 2));
    }
    let similar = Choices::new("cats".parse().unwrap(), "Çats".parse().unwrap()).unwrap();
    assert_eq!(open_patient(&url.parse().unwrap(), &similar).tally().await.unwrap(), Tally::new(5, 1));

    let store = open_store(&url);
    store.cast(ballot(Choice::Second)).await.unwrap();
    store.reset().await.unwrap();
    let store = open_store(&url);
    assert_eq!(store.tally().await.unwrap(), Tally::new(0, 0));
}

#[tokio::test]
async fn an_interrupted_adoption_is_completed() {
    let (url, mysql) = empty().await;
    azurevote(&mysql, &[("'Cats'", 4)]).await;
    // The state after a kill between the two steps.
    mysql.execute("RENAME TABLE azurevote TO azurevote_taken_over").await;
    let store = open_store(&url);
    assert_eq!(store.tally().await.unwrap(), Tally::new(4, 0));
}

#[tokio::test]
async fn an_interrupted_migration_is_completed() {
    let (url, mysql) = empty().await;
    let first = open_store(&url);
    first.cast(ballot(Choice::First)).await.unwrap();
    // The state after a kill during the first migration.
    mysql.execute("UPDATE _sqlx_migrations SET success = FALSE; DROP TABLE own_origin").await;
    let store = open_store(&url);
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 0));
}

#[tokio::test]
async fn a_newer_schema_does_not_stop_an_older_release() {
    let (url, mysql) = empty().await;
    let store = || open_store(&url);
    store().cast(ballot(Choice::First)).await.unwrap();
    mysql
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'of a later release', TRUE, x'00', 1)",
        )
        .await;
    assert_eq!(store().tally().await.unwrap(), Tally::new(1, 0));
}

#[tokio::test]
async fn one_replica_at_a_time_changes_the_schema() {
    let (url, mysql) = empty().await;
    let mut other = mysql.connect().await;
    let lock = "SELECT GET_LOCK(CONCAT('voting-schema-', LEFT(SHA2(DATABASE(), 256), 32)), 5)";
    sqlx::query(lock).execute(&mut other).await.unwrap();
    let store = open(&url.parse().unwrap(), &Choices::default()).unwrap();
    let vote = ballot(Choice::First);
    let error = store.cast_new(vote).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    let tables: i64 =
        sqlx::query("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()")
            .fetch_one(&mut mysql.connect().await)
            .await
            .unwrap()
            .get(0);
    assert_eq!(tables, 0, "the schema was made without the lock");
    drop(other);
    assert_eq!(cast_until_confirmed(store.as_ref(), vote).await, Cast::Counted);
}

#[tokio::test]
async fn a_password_may_have_any_characters() {
    let mysql = MySql::database().await;
    let user = format!("u{}", &mysql.name()[mysql.name().len() - 6..].replace('_', "x"));
    let password = "p@ss/w:rd?#%41 '\"\\ü";
    let literal = password.replace('\\', "\\\\").replace('\'', "\\'");
    mysql
        .execute(&format!(
            "DROP USER IF EXISTS '{user}'@'%'; CREATE USER '{user}'@'%' IDENTIFIED BY '{literal}'; \
             GRANT ALL ON {}.* TO '{user}'@'%'",
            mysql.name()
        ))
        .await;
    let (host, port) = (mysql.address().ip().to_string(), mysql.address().port());
    let with = |password: &str| {
        let url = voting_storage::StoreUrl::mysql(&host, port, &user, mysql.name()).unwrap();
        open_patient(&url.with_password(&password.into()), &Choices::default())
    };
    assert_eq!(with(password).cast(ballot(Choice::First)).await.unwrap(), Cast::Counted);
    let error = with("wrong-secret").tally().await.unwrap_err();
    assert!(matches!(error, StoreError::Unusable(_)), "{error}");
    assert!(!error.to_string().contains("wrong-secret"), "{error}");
    mysql.execute(&format!("DROP USER '{user}'@'%'")).await;
}

#[tokio::test]
async fn the_newest_purged_id_moves_into_the_tallies() {
    let (url, mysql) = empty().await;
    let purged = ballot_of_age(Choice::First, Duration::from_secs(3600));
    let store = open_store(&url);
    let newer = ballot_of_age(Choice::First, Duration::from_secs(1800));
    assert_eq!(store.cast(newer).await.unwrap(), Cast::Counted);
    // The schema before that migration.
    mysql
        .execute(&format!(
            "DELETE FROM tallies WHERE choice = ''; DELETE FROM _sqlx_migrations WHERE version = 3; \
             REPLACE INTO purged VALUES (1, UNHEX(REPLACE('{}', '-', '')))",
            purged.id
        ))
        .await;
    let store = open_store(&url);
    assert_eq!(store.cast(purged).await.unwrap(), Cast::Expired);
    assert_eq!(store.cast(newer).await.unwrap(), Cast::AlreadyCounted);
    assert_eq!(store.cast(ballot(Choice::First)).await.unwrap(), Cast::Counted);
    assert_eq!(store.tally().await.unwrap(), Tally::new(2, 0));
    // The migration was interrupted before it was recorded.
    mysql.execute("DELETE FROM _sqlx_migrations WHERE version = 3").await;
    let store = open_store(&url);
    assert_eq!(store.cast(purged).await.unwrap(), Cast::Expired);
}

#[tokio::test]
async fn dropped_tables_are_created_again() {
    let (url, mysql) = empty().await;
    let store = open_store(&url);
    store.cast(ballot(Choice::First)).await.unwrap();
    mysql.execute("DROP TABLE ballots, tallies, own_origin, _sqlx_migrations").await;
    cast_until_confirmed(store.as_ref(), ballot(Choice::First)).await;
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_hang_do_not_exhaust_the_connections() {
    // A commit waits for a replica that does not exist.
    let mysql = MySql::own_with(&[
        "--log-bin=votes",
        "--server-id=1",
        "--rpl-semi-sync-master-timeout=600000",
        "--rpl-semi-sync-master-wait-no-slave=ON",
    ])
    .await;
    let store = open(&mysql.url().parse().unwrap(), &Choices::default()).unwrap();
    cast_until_confirmed(store.as_ref(), ballot(Choice::First)).await;
    let mut operator = mysql.connect().await;
    let (mut most, mut longest, mut ended) = (0, Duration::ZERO, 0);
    sqlx::query("SET GLOBAL rpl_semi_sync_master_enabled = ON").execute(&mut operator).await.unwrap();
    let stop = std::time::Instant::now() + Duration::from_secs(12);
    while std::time::Instant::now() < stop {
        let mut calls = tokio::task::JoinSet::new();
        let start = std::time::Instant::now();
        for _ in 0..20 {
            let (voter, operator) = (store.clone(), store.clone());
            calls.spawn(async move { voter.cast(ballot(Choice::First)).await.is_ok() });
            calls.spawn(async move { operator.reset().await.is_ok() });
        }
        let mut connections = async || {
            let others = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
            sqlx::query_scalar::<_, i64>(others).fetch_one(&mut operator).await.unwrap()
        };
        while calls.join_next().await.is_some() {
            ended += 1;
            longest = longest.max(start.elapsed());
            most = most.max(connections().await);
        }
        // A connection of each kind, and one that only kills those that were given up. On a busy machine the server notices
        // late that others are closed.
        let start = std::time::Instant::now();
        while connections().await > 4 {
            assert!(start.elapsed() < PATIENCE, "{most} connections");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(most < 10, "{most} connections");
    let measured = format!("{ended} calls, the longest {longest:.1?}, at most {most} connections");
    figure("commits that hang", measured);
    sqlx::query("SET GLOBAL rpl_semi_sync_master_enabled = OFF").execute(&mut operator).await.unwrap();
    assert_eq!(cast_until_confirmed(store.as_ref(), ballot(Choice::First)).await, Cast::Counted);
}

#[tokio::test]
async fn a_probe_fails_without_a_permission_or_a_table_that_votes_need() {
    let mysql = MySql::database().await;
    open_store(&mysql.url()).tally().await.unwrap();
    for (number, rights) in ["SELECT", "SELECT, INSERT", "SELECT, UPDATE"].into_iter().enumerate() {
        let user = format!("probe_{}_{number}", std::process::id());
        let grant = format!("CREATE USER '{user}'@'%'; GRANT {rights} ON {}.* TO '{user}'@'%'", mysql.name());
        mysql.execute(&grant).await;
        let url = format!("mysql://{user}@{}/{}", mysql.address(), mysql.name());
        let error = open_store(&url).probe().await.unwrap_err();
        assert!(matches!(error, StoreError::Unusable(_)), "{rights}: {error}");
        mysql.execute(&format!("DROP USER '{user}'@'%'")).await;
    }
    let store = open_store(&mysql.url());
    store.probe().await.unwrap();
    mysql.execute("DROP TABLE ballots").await;
    store.probe().await.unwrap_err();
}

/// Everything in the database: its tables with their columns and rows.
async fn content(mysql: &MySql) -> Vec<String> {
    let mut connection = mysql.connect().await;
    let mut content = Vec::new();
    for table in sqlx::raw_sql("SHOW TABLES").fetch_all(&mut connection).await.unwrap() {
        let table: String = table.get(0);
        let columns = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SHOW CREATE TABLE `{table}`")));
        content.push(columns.fetch_one(&mut connection).await.unwrap().get(1));
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM `{table}`")));
        content.push(rows.fetch_one(&mut connection).await.unwrap().get::<i64, _>(0).to_string());
    }
    content
}

const MIGRATIONS_OF_SQLX: &str = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, \
    execution_time BIGINT NOT NULL)";

#[tokio::test]
async fn tables_of_another_application_are_refused_and_not_changed() {
    let insert =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES";
    for (table, statements) in [
        ("ballots", "CREATE TABLE ballots (id VARCHAR(40) PRIMARY KEY, name TEXT)".to_owned()),
        ("ballots", "CREATE TABLE ballots (id INT PRIMARY KEY)".to_owned()),
        ("ballots", "CREATE TABLE ballots (id BINARY(16) NOT NULL)".to_owned()),
        ("ballots", "CREATE TABLE ballots (id BINARY(16) PRIMARY KEY, name TEXT)".to_owned()),
        (
            "ballots",
            "CREATE TABLE votes (id BINARY(16) PRIMARY KEY); CREATE VIEW ballots AS SELECT * FROM votes"
                .to_owned(),
        ),
        ("tallies", "CREATE TABLE tallies (x INT); INSERT INTO tallies VALUES (1)".to_owned()),
        ("own_origin", "CREATE TABLE own_origin (x INT)".to_owned()),
        ("purged", "CREATE TABLE purged (id INT PRIMARY KEY, up_to DATETIME)".to_owned()),
        ("_sqlx_migrations", "CREATE TABLE _sqlx_migrations (name TEXT)".to_owned()),
        ("_sqlx_migrations", format!("{MIGRATIONS_OF_SQLX}; {insert} (1, 'users', TRUE, x'00', 1)")),
        ("_sqlx_migrations", format!("{MIGRATIONS_OF_SQLX}; {insert} (1, 'create', FALSE, x'00', 1)")),
        (
            "_sqlx_migrations",
            format!("{MIGRATIONS_OF_SQLX}; {insert} (20260101120000, 'users', FALSE, x'00', 1)"),
        ),
        (
            "azurevote",
            "CREATE TABLE azurevote (a INT, b VARCHAR(9)); INSERT INTO azurevote VALUES (1, 'x')".to_owned(),
        ),
        ("azurevote", "CREATE TABLE azurevote (voteid INT, votevalue INT)".to_owned()),
        ("azurevote_taken_over", "CREATE TABLE azurevote_taken_over (a INT)".to_owned()),
        (
            "azurevote",
            "CREATE TABLE azurevote (votevalue TEXT); CREATE TABLE azurevote_taken_over (votevalue TEXT)"
                .to_owned(),
        ),
    ] {
        let (url, mysql) = empty().await;
        mysql.execute(&statements).await;
        let before = content(&mysql).await;
        for _ in 0..2 {
            let error = open_store(&url).cast_new(ballot(Choice::First)).await.unwrap_err();
            let StoreError::Unusable(cause) = &error else { panic!("{statements}: {error}") };
            assert!(
                cause.contains(&format!("table {table} ")) || cause.contains("both exist"),
                "{statements}: {cause}"
            );
            assert!(cause.contains("; allowed: ") && cause.lines().count() == 1, "{cause}");
        }
        assert_eq!(content(&mysql).await, before, "{statements}");
    }
}

#[tokio::test]
async fn a_table_that_was_dropped_from_an_unfinished_schema_is_created_again() {
    let (url, mysql) = empty().await;
    open_store(&url).tally().await.unwrap();
    mysql
        .execute("DROP TABLE tallies; DELETE FROM own_origin; DELETE FROM _sqlx_migrations WHERE version = 3")
        .await;
    let store = open_store(&url);
    store.cast(ballot(Choice::First)).await.unwrap();
    assert_eq!(store.tally().await.unwrap(), Tally::new(1, 0));
}
