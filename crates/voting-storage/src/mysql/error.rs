//! Errors of MySQL and MariaDB, sorted by what is certain about the effect of the request.

use sqlx::mysql::MySqlDatabaseError;

use crate::store::StoreError;

/// `ER_DUP_ENTRY`: a ballot of the batch is known.
pub(super) const DUPLICATE: u16 = 1062;
/// `ER_LOCK_WAIT_TIMEOUT`, `ER_LOCK_DEADLOCK`: the transaction was rolled back in favour of another.
pub(super) const CONTENTION: [u16; 2] = [1205, 1213];
/// `ER_NO_SUCH_TABLE`.
const NO_SUCH_TABLE: u16 = 1146;

/// The server's number of an error, if the server sent it.
pub(super) fn error_number(error: &sqlx::Error) -> Option<u16> {
    error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
}

pub(super) fn is_missing_table(error: &sqlx::Error) -> bool {
    error_number(error) == Some(NO_SUCH_TABLE)
}

/// An error before the first request.
pub(super) fn connecting(error: sqlx::Error) -> StoreError {
    match answering(error) {
        StoreError::Unconfirmed(cause) => StoreError::Unavailable(cause),
        other => other,
    }
}

/// An error in answer to a transaction.
pub(super) fn answering(error: sqlx::Error) -> StoreError {
    match error_number(&error) {
        None if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => {
            StoreError::unconfirmed(error)
        }
        None => StoreError::unusable(error),
        // The server shut down, or the error may be that of the commit itself: a killed query or connection,
        // ER_ERROR_DURING_COMMIT, group replication, Galera.
        Some(1053 | 1317 | 1927 | 1180 | 3100 | 1047) => StoreError::unconfirmed(error),
        // Too many connections, a full disk or table, locks, a server that is read-only for now.
        Some(1040 | 1203 | 1226 | 1021 | 1114 | 1205 | 1213 | 1290 | 1836) => StoreError::unavailable(error),
        Some(_) => StoreError::unusable(error),
    }
}
