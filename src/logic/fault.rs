//! Faults: why there is no decision. A refusal is a decision and lives in the domain.

use crate::domain::Instant;

/// Why a request could not be decided, as far as the caller's key is concerned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Another request with the same key is still being decided.
    #[error("another request with this key is still being decided")]
    InProgress,
    /// A lock was not free in time, or the database chose this transaction to give way more often
    /// than we retry. The key was ours: nothing is there and nothing will be.
    #[error("the row was held by others for too long")]
    Conflict,
    /// The same, and the row was a wallet: whoever does not want it may well be decided.
    #[error("a wallet was held by others for too long")]
    WalletHeld,
    /// The write of a group came behind this moment, at which one of its orders may not be made any
    /// more. Groups are decided again for it; nobody hears of it.
    #[error("the write came behind {0}")]
    TooLate(Instant),
    /// No place was free in time, since more wait than we let wait or the database is slow; this
    /// one was not looked at.
    #[error("no place was free in time")]
    Overloaded {
        /// When it is worth trying again, in whole seconds.
        retry_after_seconds: u32,
    },
    /// The service is shutting down and takes no new work.
    #[error("the service is shutting down")]
    Draining,
    /// The database cannot be reached; nothing was executed.
    #[error("the database is unavailable")]
    Unavailable,
    /// The database went away in the middle of COMMIT, or the time for this request ran out while
    /// it is being decided: it may or may not be executed.
    #[error("the outcome is unknown")]
    OutcomeUnknown,
    /// A defect. The text is for the log, never for the caller.
    #[error("internal: {0}")]
    Internal(String),
}

impl Fault {
    /// Every connection is taken, or a row is. How long for, nobody knows.
    pub fn busy() -> Fault {
        Fault::Overloaded { retry_after_seconds: in_a_moment() }
    }
}

/// When to come back where nothing is known, in seconds: not all at the same moment.
pub fn in_a_moment() -> u32 {
    fastrand::u32(1..=3)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn callers_are_not_asked_to_come_back_at_one_moment() {
        let seconds: BTreeSet<u32> = (0..1_000).map(|_| in_a_moment()).collect();
        assert_eq!(seconds, BTreeSet::from([1, 2, 3]));
    }
}
