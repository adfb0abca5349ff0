//! The SQLSTATE table: what the database's refusals mean to the house.
//!
//! Codes are those of the PostgreSQL manual, appendix A.

use sqlx::Error;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::ports::store::{CommitError, StoreError};

const SERIALIZATION_FAILURE: &str = "40001";
pub(super) const DEADLOCK_DETECTED: &str = "40P01";
pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";
const QUERY_CANCELED: &str = "57014";
const UNIQUE_VIOLATION: &str = "23505";
const IN_FAILED_TRANSACTION: &str = "25P02";
const IDLE_IN_TRANSACTION_TIMEOUT: &str = "25P03";
const TRANSACTION_TIMEOUT: &str = "25P04";
const READ_ONLY_TRANSACTION: &str = "25006";
const STATEMENT_COMPLETION_UNKNOWN: &str = "40003";

/// What an error before COMMIT means.
pub fn store_error(error: Error) -> StoreError {
    match error {
        Error::Database(database) => {
            let sqlstate = database.code().unwrap_or_default().into_owned();
            let constraint = database.constraint().map(str::to_owned);
            by_sqlstate(sqlstate, constraint, database.message())
        }
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::WorkerCrashed => {
            StoreError::Lost(error.to_string())
        }
        Error::PoolTimedOut | Error::PoolClosed => StoreError::Unavailable(error.to_string()),
        Error::ColumnDecode { .. } | Error::Decode(_) => StoreError::Invariant(error.to_string()),
        other => StoreError::Other(other.to_string()),
    }
}

/// What the driver or the server said, in words for people: without the line of the server's
/// source that the driver adds, and without its own names for kinds of errors.
pub fn words(error: &Error) -> String {
    match error {
        Error::Database(database) => database.message().to_owned(),
        Error::Configuration(inner) => match inner.downcast_ref::<Error>() {
            Some(inner) => words(inner),
            None => inner.to_string(),
        },
        other => other.to_string(),
    }
}

fn by_sqlstate(sqlstate: String, constraint: Option<String>, message: &str) -> StoreError {
    let text = || format!("{sqlstate}: {message}");
    match sqlstate.as_str() {
        SERIALIZATION_FAILURE | DEADLOCK_DETECTED => StoreError::Retry { sqlstate },
        LOCK_NOT_AVAILABLE | QUERY_CANCELED => StoreError::LockTimeout { sqlstate },
        UNIQUE_VIOLATION => StoreError::Duplicate { constraint: constraint.unwrap_or_default() },
        IN_FAILED_TRANSACTION | IDLE_IN_TRANSACTION_TIMEOUT | TRANSACTION_TIMEOUT => {
            StoreError::Lost(text())
        }
        READ_ONLY_TRANSACTION => StoreError::Unavailable(text()),
        // Insufficient resources: connections, disk, memory.
        code if code.starts_with("53") => StoreError::Unavailable(text()),
        code if code.starts_with("08") || code.starts_with("57P") => StoreError::Lost(text()),
        code if code.starts_with("23") => StoreError::Invariant(text()),
        _ => StoreError::Other(text()),
    }
}

/// What an error during COMMIT means: a server that answered with a SQLSTATE of its own accord did
/// not commit, everything else leaves the outcome unknown. A session ended by the server while it
/// was committing (57P0x, and whatever is more than an ERROR) may have committed: a log that could
/// not be flushed (58030) is a PANIC, and the restart may find the commit in it.
pub(super) fn commit_error(error: Error) -> CommitError {
    if let Error::Database(database) = &error
        && ends_unknown(&**database)
    {
        return CommitError::Unknown(database.message().to_owned());
    }
    match store_error(error) {
        StoreError::Lost(detail) | StoreError::Unavailable(detail) => CommitError::Unknown(detail),
        StoreError::LockTimeout { sqlstate } => CommitError::Unknown(sqlstate),
        refused => CommitError::Refused(refused),
    }
}

fn ends_unknown(error: &dyn DatabaseError) -> bool {
    let code = error.code().unwrap_or_default();
    let severity = error.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::severity);
    // System errors and internal ones are no verdict on the transaction.
    code == STATEMENT_COMPLETION_UNKNOWN
        || code.starts_with("58")
        || code.starts_with("XX")
        || severity.is_some_and(|severity| severity != PgSeverity::Error)
}

/// A write touched another number of rows than it meant to.
pub(super) fn expect_rows(
    what: &'static str,
    expected: usize,
    found: i64,
) -> Result<(), StoreError> {
    if i64::try_from(expected) == Ok(found) {
        return Ok(());
    }
    Err(StoreError::Stale { what, expected, found })
}

/// A stored value that the domain does not know.
pub(super) fn unreadable(what: &str, value: impl std::fmt::Display) -> StoreError {
    StoreError::Invariant(format!("stored {what} is not one: {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once() {
        let inner = Error::Configuration("no such mode".into());
        let twice = Error::Configuration(Box::new(inner));
        assert_eq!(words(&twice), "no such mode");
        assert_eq!(words(&Error::PoolClosed), Error::PoolClosed.to_string());
    }

    #[test]
    fn each_sqlstate_has_one_meaning() {
        let kind = |code: &str| match by_sqlstate(code.to_owned(), None, "") {
            StoreError::Retry { .. } => "retry",
            StoreError::LockTimeout { .. } | StoreError::WalletHeld => "lock",
            StoreError::Duplicate { .. } => "duplicate",
            StoreError::Lost(_) => "lost",
            StoreError::Unavailable(_) => "unavailable",
            StoreError::Invariant(_) | StoreError::Stale { .. } => "invariant",
            StoreError::TooLate(_) | StoreError::Busy | StoreError::Other(_) => "other",
        };
        let table = [
            ("40001", "retry"),
            ("40P01", "retry"),
            ("55P03", "lock"),
            ("57014", "lock"),
            ("23505", "duplicate"),
            ("23514", "invariant"),
            ("23503", "invariant"),
            ("25P02", "lost"),
            ("25P03", "lost"),
            ("25P04", "lost"),
            ("08006", "lost"),
            ("57P01", "lost"),
            ("57P03", "lost"),
            ("53300", "unavailable"),
            ("53100", "unavailable"),
            ("25006", "unavailable"),
            ("42P01", "other"),
        ];
        for (code, meaning) in table {
            assert_eq!(kind(code), meaning, "{code}");
        }
    }
}
