//! Errors of MySQL and MariaDB, sorted by what is certain about the effect of the request.

use sqlx::mysql::MySqlDatabaseError;

use crate::store::StoreError;
use crate::tls::explain;

/// `ER_DATA_OUT_OF_RANGE`: the deadline has passed, a ballot of the batch is as old as purged ones, or a counter is full.
pub(super) const OUT_OF_RANGE: u16 = 1690;
/// `ER_DUP_ENTRY` and the above: a ballot of the batch is known, or the batch is out of range.
pub(super) const NOT_NEW: [u16; 2] = [1062, OUT_OF_RANGE];
/// `ER_LOCK_WAIT_TIMEOUT`, `ER_LOCK_DEADLOCK`: the transaction was rolled back in favour of another.
pub(super) const CONTENTION: [u16; 2] = [1205, 1213];
/// `ER_OPTION_PREVENTS_STATEMENT`, `ER_READ_ONLY_MODE`: a server that is read-only, as replicas are.
pub(super) const READ_ONLY: [u16; 2] = [1290, 1836];
/// `ER_ACCESS_DENIED_ERROR`, `ER_ACCESS_DENIED_NO_PASSWORD_ERROR`: a wrong user or password.
pub(super) const ACCESS_DENIED: [u16; 2] = [1045, 1698];
/// `ER_SECURE_TRANSPORT_REQUIRED`.
pub(super) const TLS_REQUIRED: u16 = 3159;
/// `ER_NO_SUCH_TABLE`.
const NO_SUCH_TABLE: u16 = 1146;

/// `ER_BAD_FIELD_ERROR`.
const NO_SUCH_COLUMN: u16 = 1054;

/// The server's number of an error, if the server sent it.
pub(super) fn error_number(error: &sqlx::Error) -> Option<u16> {
    error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
}

pub(super) fn is_missing_table(error: &sqlx::Error) -> bool {
    error_number(error) == Some(NO_SUCH_TABLE)
}

pub(super) fn is_missing_column(error: &sqlx::Error) -> bool {
    error_number(error) == Some(NO_SUCH_COLUMN)
}

/// An error before the first request.
pub(super) fn connecting(error: sqlx::Error) -> StoreError {
    const OFF: &str = "ssl-mode=DISABLED in the URL or MYSQL_SSL_MODE (VERIFY_CA and VERIFY_IDENTITY verify it, REQUIRED and PREFERRED do not; \
                       ssl-ca=FILE or MYSQL_SSL_CA names the authority)";
    const CLIENT: &str = "ssl-cert=FILE and ssl-key=FILE in the URL, or a server that asks for none";
    if let Some(cause) = explain(&error.to_string(), OFF, CLIENT) {
        return StoreError::unusable(cause);
    }
    if error.to_string().contains("mysql_cleartext_plugin disabled") {
        return StoreError::unusable(
            "the server asks for the password in clear text, as for a token of Entra ID; \
             allowed: MYSQL_SSL_MODE=VERIFY_CA or VERIFY_IDENTITY, or the same ssl-mode in the URL",
        );
    }
    match answering(error) {
        StoreError::Unconfirmed(cause) => StoreError::Unavailable(cause),
        other => other,
    }
}

/// An error in answer to a transaction. It had no effect only if the answer is known to say so: a proxy in front of the
/// server may have passed the commit on and lost the answer.
pub(super) fn answering(error: sqlx::Error) -> StoreError {
    let Some(number) = error_number(&error) else {
        return match error {
            // Only reads decode rows.
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::Configuration(_) => StoreError::unusable(error),
            _ => StoreError::unconfirmed(error),
        };
    };
    match number {
        // Too many connections, a full disk or table, locks, a server or transaction that is read-only for now.
        1040 | 1203 | 1226 | 1021 | 1036 | 1114 | 1205 | 1213 | 1290 | 1792 | 1836 => {
            StoreError::unavailable(error)
        }
        // User, database, table, column, privilege, routine; a password or an account that has expired or is locked.
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698 | 1820 | 1862 | 3118 | 4151 => {
            StoreError::denied(error)
        }
        // No or an unknown database, table or column, invalid SQL or data; a host or login method that is blocked, TLS required; not
        // supported.
        1046 | 1049 | 1054 | 1064 | 1129 | 1130 | 1146 | 1235 | 1251 | 1264 | 1305 | 1364 | 1366 | 1406
        | 1524 | 1690 | 3159 => StoreError::unusable(error),
        // Anything else, among it a shutdown, a killed query or connection, and errors of the commit itself
        // (ER_ERROR_DURING_COMMIT, group replication, Galera).
        _ => StoreError::unconfirmed(error),
    }
}
