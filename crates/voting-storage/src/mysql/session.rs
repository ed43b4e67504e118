//! The settings of a connection. Every session value that the backend relies on is set before the first statement: a
//! server's defaults may be any.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::mysql::MySqlConnection;
use sqlx::{Executor, Row};

use crate::store::Finding;

/// Longest wait for a row or table lock, in seconds. Shorter than an attempt, so that an abandoned statement ends on the
/// server too and holds no connection.
const LOCK_WAIT_SECONDS: u32 = 1;

/// Sets the session values.
///
/// - `autocommit`, `completion_type`: a lone statement commits, and a commit neither chains a transaction nor disconnects.
/// - `time_zone`: `NOW()` does not jump at the beginning and end of summer time.
/// - `sql_mode`: the SQL of MySQL, not that of another product, and numbers that do not fit are errors.
/// - `sql_safe_updates`, `sql_select_limit`, `sql_big_selects`: no statement is refused or cut short for its form.
/// - isolation and access: a read sees committed data only. (READ COMMITTED would fail with statement-based binary logs.)
/// - `default_storage_engine`: new tables have transactions.
/// - lock waits end before the attempt does.
pub(super) async fn configure(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let settings = format!(
        "SET SESSION autocommit = 1, completion_type = 0, time_zone = '+00:00', default_storage_engine = InnoDB, \
         sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
         sql_safe_updates = 0, sql_select_limit = {no_limit}, sql_big_selects = 1, \
         innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}, lock_wait_timeout = {LOCK_WAIT_SECONDS}",
        no_limit = u64::MAX,
    );
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(settings))).await?;
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE").await?;
    Ok(())
}

/// The server's time since the Unix epoch.
pub(super) async fn server_time(connection: &mut MySqlConnection) -> Result<Duration, sqlx::Error> {
    let time = sqlx::raw_sql("SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)");
    let row = connection.fetch_one(time).await?;
    Ok(Duration::from_millis(row.try_get::<u64, _>(0)?))
}

/// Reports settings by which a crash of the server's machine may lose commits. With a binary log, recovery rolls back the
/// commits that the log lacks. A compatible database without these settings is not judged.
pub(super) async fn durability(connection: &mut MySqlConnection) -> Option<Finding> {
    let names = "SHOW GLOBAL VARIABLES \
                 WHERE Variable_name IN ('innodb_flush_log_at_trx_commit', 'log_bin', 'sync_binlog')";
    let rows = connection.fetch_all(sqlx::raw_sql(names)).await.ok()?;
    let settings: HashMap<String, String> =
        rows.iter().filter_map(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?))).collect();
    let mut needed = vec!["innodb_flush_log_at_trx_commit"];
    if settings.get("log_bin").is_some_and(|value| value == "ON") {
        needed.push("sync_binlog");
    }
    let weak: Vec<_> = needed
        .iter()
        .filter_map(|name| {
            settings.get(*name).filter(|value| *value != "1").map(|value| format!("{name} is {value}"))
        })
        .collect();
    (!weak.is_empty()).then(|| {
        let weakness = format!(
            "{}, so a crash of the machine may lose the newest acknowledged votes",
            weak.join(" and ")
        );
        Finding::of_durability(&weakness, &format!("{} = 1", needed.join(" and ")))
    })
}

/// A text that differs between a database and its copies: those on other servers, and under another name on this one.
pub(super) async fn place(connection: &mut MySqlConnection) -> Result<String, sqlx::Error> {
    let mut parts = Vec::new();
    // A server has one of the first two, or none.
    let names =
        "SHOW VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid', 'hostname', 'port', 'datadir')";
    for row in connection.fetch_all(sqlx::raw_sql(names)).await? {
        parts.push(row.try_get::<String, _>(1)?);
    }
    let database = connection.fetch_one(sqlx::raw_sql("SELECT DATABASE()")).await?;
    parts.push(database.try_get(0)?);
    Ok(parts.join("/"))
}
