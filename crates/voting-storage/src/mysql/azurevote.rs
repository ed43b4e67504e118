//! Takes over a database of the Azure Voting App (azure-vote): its table `azurevote` has one row per vote.
//!
//! The table is renamed first, so that no vote is added to it unnoticed: an azure-vote that still runs fails instead. Its
//! rows are then counted into the counters of an origin of their own, by maximum. So the migration may be interrupted
//! anywhere and repeated.

use sqlx::mysql::MySqlConnection;
use sqlx::{Executor, Row};
use voting_core::tally::Origin;

use super::error::is_missing_table;

/// Takes over the table, if it exists. The caller holds the schema lock.
pub(super) async fn take_over(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    // Servers report different errors for renaming a missing table to an existing name, so look first.
    let tables = sqlx::query(
        "SELECT COUNT(*) FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name = 'azurevote'",
    );
    if tables.fetch_one(&mut *connection).await?.try_get::<i64, _>(0)? > 0 {
        connection.execute("RENAME TABLE azurevote TO azurevote_taken_over").await?;
        tracing::info!("took over the table azurevote, renamed to azurevote_taken_over");
    }
    let origin = Origin::AZUREVOTE.as_bytes().as_slice();
    let counted = sqlx::query("SELECT COUNT(*) FROM tallies WHERE origin = ?");
    if counted.bind(origin).fetch_one(&mut *connection).await?.try_get::<i64, _>(0)? > 0 {
        return Ok(());
    }
    // Grouped by bytes: the table's own collation would merge `cats` and `CATS`.
    let count = sqlx::query(
        "INSERT INTO tallies (choice, origin, votes, reset_votes) \
         SELECT name, ?, votes, 0 FROM (\
           SELECT CAST(CONVERT(votevalue USING utf8mb4) AS BINARY) AS name, COUNT(*) AS votes \
           FROM azurevote_taken_over WHERE votevalue IS NOT NULL GROUP BY name) AS counted \
         ON DUPLICATE KEY UPDATE votes = GREATEST(tallies.votes, VALUES(votes))",
    );
    match count.bind(origin).execute(connection).await {
        Ok(_) => Ok(()),
        Err(error) if is_missing_table(&error) => Ok(()),
        Err(error) => Err(error),
    }
}
