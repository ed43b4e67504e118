//! Taking over a database of the original: its table `azurevote` has a row a vote.
//!
//! The table is renamed first, so no vote can be added to it unseen: an original that still runs fails instead. Its
//! rows are then counted into the counters of an origin of their own, by maximum. So it does not matter how often,
//! or where, this is cut off.

use sqlx::mysql::MySqlConnection;
use sqlx::{Executor, Row};

use super::schema::is_missing_table;
use crate::tally::Origin;

/// Takes the table over, if there is one. The caller holds the lock of the schema.
pub(super) async fn take_over(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    // Asked first, because servers differ in what they say of a rename whose both ends are wrong.
    let there = sqlx::query(
        "SELECT COUNT(*) FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name = 'azurevote'",
    );
    if there.fetch_one(&mut *connection).await?.try_get::<i64, _>(0)? > 0 {
        connection.execute("RENAME TABLE azurevote TO azurevote_taken_over").await?;
        tracing::info!("The original's table azurevote is taken over; it is azurevote_taken_over now.");
    }
    let origin = Origin::AZUREVOTE.as_bytes().as_slice();
    let counted = sqlx::query("SELECT COUNT(*) FROM tallies WHERE origin = ?");
    if counted.bind(origin).fetch_one(&mut *connection).await?.try_get::<i64, _>(0)? > 0 {
        return Ok(());
    }
    // By the bytes of the name: the original's collation would merge `cats` and `CATS`.
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
