//! Errors of Redis, sorted by what is certain about the effect of the request.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::StoreError;
use crate::tls::explain;

/// How to connect without TLS.
pub(super) const NO_TLS: &str =
    "redis:// instead of rediss:// (redis+cluster:// instead of rediss+cluster://, REDIS_TLS=false)";
/// How to connect with TLS.
pub(super) const WITH_TLS: &str =
    "rediss:// instead of redis:// (rediss+cluster:// instead of redis+cluster://, REDIS_TLS=true)";

/// An error before the first request.
pub(super) fn connecting(error: RedisError) -> StoreError {
    if let Some(cause) =
        explain(&error.to_string(), NO_TLS, "a server that asks for none (tls-auth-clients no)")
    {
        return StoreError::unusable(cause);
    }
    if error.to_string().contains("Parse error") {
        return StoreError::unusable(
            "the server at this host and port is not a Redis; allowed: those of a Redis",
        );
    }
    if let Some(error) = forbidden(&error) {
        return error;
    }
    if error.is_timeout() || error.kind() == ErrorKind::Io && error.to_string().contains("broken pipe") {
        return StoreError::unavailable(format!("{error}: the store does not answer"));
    }
    match error.kind() {
        ErrorKind::InvalidClientConfig => StoreError::unusable(error.category()),
        _ => match answering(error) {
            StoreError::Unconfirmed(cause) => StoreError::Unavailable(cause),
            other => other,
        },
    }
}

/// The error of a user who lacks a permission, or of a server that lacks a command. In a script it has no code of its own,
/// and commands before it took effect.
fn forbidden(error: &RedisError) -> Option<StoreError> {
    const PARTS: [&str; 8] = [
        "NOPERM",
        "NOAUTH",
        "Authentication required",
        "ACL failure in script",
        "can't run this command",
        "no permissions",
        // Renamed or removed commands.
        "unknown command",
        "Unknown Redis command",
    ];
    let text = error.to_string();
    PARTS.iter().any(|part| text.contains(part)).then(|| StoreError::denied(text))
}

/// An error in answer to a write. It had no effect only if the answer is known to say so: a proxy in front of the server
/// may have passed the request on and lost the answer.
pub(super) fn answering(error: RedisError) -> StoreError {
    use ServerErrorKind::{
        Ask, BusyLoading, ClusterDown, CrossSlot, MasterDown, Moved, NoPerm, NoScript, ReadOnly, TryAgain,
    };
    // The scripts undo what they did before a write that is not permitted.
    if let Some(error) = forbidden(&error) {
        return error;
    }
    match (error.kind(), error.code()) {
        (ErrorKind::Extension, Some("FULL")) => StoreError::full_counter(),
        // The slot has moved or is not served: the next connection learns its place.
        (ErrorKind::Server(Ask | Moved) | ErrorKind::ClusterConnectionNotFound, _)
        | (ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | NoScript | ReadOnly | TryAgain), _)
        | (ErrorKind::Extension, Some("BUSY" | "LATE" | "MISCONF" | "NOREPLICAS")) => {
            StoreError::unavailable(error)
        }
        (ErrorKind::Server(CrossSlot), _) => {
            StoreError::unusable(format!("{error}; allowed: redis+cluster:// for a Redis Cluster"))
        }
        (ErrorKind::Server(NoPerm), _)
        | (
            ErrorKind::Extension,
            Some(
                "EVICTION" | "INVALID" | "NOAUTH" | "NOORIGIN" | "OOM" | "TOOLARGE" | "UNDONE" | "WRONGTYPE",
            ),
        ) => StoreError::unusable(error),
        _ => StoreError::unconfirmed(error),
    }
}

/// An error in answer to a read, which has no effect.
pub(super) fn reading(error: RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => StoreError::unusable(error),
        _ => answering(error),
    }
}
