//! The one place where a transaction of the house begins and ends.
//!
//! [`transact`] runs a piece of [`Work`] from BEGIN to COMMIT, measures it under its name, and runs
//! it again where that is safe and worth it. Who calls it owns the future to its end, in a task of
//! its own: a caller who leaves does not stop a decision (docs/adr/0002-transactions.md).
//!
//! | what happened | what follows |
//! |---|---|
//! | the database chose us to give way (40001, 40P01) | again, bounded, after a jittered pause |
//! | the session was lost before COMMIT was sent | again on a new session, bounded |
//! | the session was lost during COMMIT | again until it is decided or time is up |
//! | a lock was not free in time | a fault; in the re-run of an unknown COMMIT: again |
//! | a session went silent | as lost: it is dropped, never handed on |

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::fault::Fault;
use crate::ports::signals;
use crate::ports::store::{CommitError, Store, StoreError, Transaction};

/// How a piece of work wants its transaction to end.
#[derive(Debug)]
pub enum Ending<V> {
    /// Something was written: make it durable, then answer.
    Commit(V),
    /// Nothing is to stay: undo, then answer.
    Rollback(V),
}

/// Why a piece of work could not reach its ending.
#[derive(Debug)]
pub enum Trouble {
    /// The key could not be claimed or looked up: whether an order stands under it is not known
    /// here, so nothing may be said of it.
    KeyUnsettled(StoreError),
    /// Anything else that the store says.
    Store(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Trouble::Store(error)
    }
}

/// What is done inside one transaction. It may be run more than once, each time from the start,
/// also when nobody knows whether the last run was committed: it must then find what that run has
/// done, by a key or by an id of its own, and not do it twice.
pub trait Work<T: Transaction>: Send {
    /// What it finds out.
    type Value: Send;
    /// The transaction's name, also its metric label.
    const NAME: &'static str;

    /// BEGIN was answered after this long.
    fn begun(&mut self, _after: Duration) {}

    /// The statements between BEGIN and COMMIT.
    fn run(
        &mut self,
        transaction: &mut T,
    ) -> impl Future<Output = Result<Ending<Self::Value>, Trouble>> + Send;
}

/// Runs before retrying: 40001 and 40P01, and lost sessions. More would only heat the row.
const ATTEMPTS_MAX: u32 = 5;
/// The first pause before a retry; it doubles, with jitter.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// The longest pause before a retry.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// Runs `work` in one transaction. `deadline` bounds retries. Statements are bounded by the server;
/// one whose answer never comes is given up behind the deadline and the store's patience, and its
/// session is thrown away.
///
/// # Errors
/// A [`Fault`] says what is certain about the outcome.
pub async fn transact<S, W>(store: &S, deadline: Instant, work: &mut W) -> Result<W::Value, Fault>
where
    S: Store,
    W: Work<S::Transaction>,
{
    let mut attempt = 0;
    let mut commit_unknown = false;
    loop {
        attempt += 1;
        let next = match run_once(store, deadline, work).await {
            Ok(value) => return Ok(value),
            Err(Failed::Unknown(detail)) => {
                tracing::warn!(transaction = W::NAME, detail, "COMMIT unanswered; running again");
                commit_unknown = true;
                Next::until_decided()
            }
            Err(Failed::Before(trouble)) => settle(trouble, commit_unknown, attempt),
        };
        let (cause, otherwise) = match next {
            Next::Again { cause, otherwise } => (cause, otherwise),
            Next::Give(fault) => return Err(fault),
        };
        let pause = pause_before(attempt);
        if Instant::now() + pause >= deadline {
            return Err(otherwise);
        }
        metrics::counter!(signals::RETRIES, "sqlstate" => cause).increment(1);
        tokio::time::sleep(pause).await;
    }
}

/// How one run can fail.
enum Failed {
    /// Before COMMIT, or COMMIT was refused: nothing was executed.
    Before(Trouble),
    /// During COMMIT: nobody knows.
    Unknown(String),
}

/// BEGIN, the work, COMMIT or ROLLBACK.
///
/// The server bounds every statement; these bounds are for a session that has gone silent. A
/// transaction that is dropped here takes its session with it, so nobody ever borrows a session
/// with an open transaction.
async fn run_once<S, W>(store: &S, deadline: Instant, work: &mut W) -> Result<W::Value, Failed>
where
    S: Store,
    W: Work<S::Transaction>,
{
    let (patience, asked) = (store.patience(), Instant::now());
    let begun = timeout(patience, store.begin()).await;
    let mut transaction = begun
        .unwrap_or_else(|_| Err(StoreError::Unavailable("no answer to BEGIN".to_owned())))
        .map_err(|error| Failed::Before(Trouble::Store(error)))?;
    let began = Instant::now();
    work.begun(began - asked);
    let run_until = deadline.max(began + patience);
    let (outcome, result) = match timeout_at(run_until, work.run(&mut transaction)).await {
        Ok(Ok(Ending::Commit(value))) => match timeout(patience, transaction.commit()).await {
            Ok(Ok(())) => ("committed", Ok(value)),
            Ok(Err(CommitError::Refused(error))) => {
                ("refused", Err(Failed::Before(Trouble::Store(error))))
            }
            Ok(Err(CommitError::Unknown(detail))) => ("unknown", Err(Failed::Unknown(detail))),
            Err(_elapsed) => ("unknown", Err(Failed::Unknown("no answer to COMMIT".to_owned()))),
        },
        Ok(Ok(Ending::Rollback(value))) => {
            // A rollback without an answer has nobody left to roll back.
            let _ = timeout(patience, transaction.rollback()).await;
            ("rolled_back", Ok(value))
        }
        Ok(Err(trouble)) => {
            let _ = timeout(patience, transaction.rollback()).await;
            ("failed", Err(Failed::Before(trouble)))
        }
        Err(_elapsed) => {
            drop(transaction);
            let lost = StoreError::Lost("no answer to a statement".to_owned());
            ("silent", Err(Failed::Before(Trouble::Store(lost))))
        }
    };
    metrics::histogram!(
        signals::TRANSACTION_DURATION, "transaction" => W::NAME, "outcome" => outcome
    )
    .record(began.elapsed());
    result
}

/// What follows a run that failed before COMMIT.
enum Next {
    /// Run it again, for this cause; when no time is left, give up with this fault.
    Again { cause: String, otherwise: Fault },
    /// Give up with this fault.
    Give(Fault),
}

impl Next {
    /// After an unknown COMMIT only a decision ends the matter.
    fn until_decided() -> Next {
        let cause = "commit_unknown".to_owned();
        Next::Again { cause, otherwise: Fault::OutcomeUnknown }
    }
}

fn settle(trouble: Trouble, commit_unknown: bool, attempt: u32) -> Next {
    if commit_unknown {
        // Every obstacle is waited out.
        return Next::until_decided();
    }
    let again = |cause: String, otherwise: Fault| {
        if attempt >= ATTEMPTS_MAX {
            Next::Give(otherwise)
        } else {
            Next::Again { cause, otherwise }
        }
    };
    match trouble {
        Trouble::KeyUnsettled(StoreError::LockTimeout { .. }) => Next::Give(Fault::InProgress),
        Trouble::KeyUnsettled(StoreError::Retry { sqlstate }) => again(sqlstate, Fault::InProgress),
        Trouble::Store(StoreError::LockTimeout { .. }) => Next::Give(Fault::Conflict),
        Trouble::Store(StoreError::WalletHeld) => Next::Give(Fault::WalletHeld),
        Trouble::Store(StoreError::TooLate(moment)) => Next::Give(Fault::TooLate(moment)),
        Trouble::Store(StoreError::Retry { sqlstate }) => again(sqlstate, Fault::Conflict),
        Trouble::KeyUnsettled(error) | Trouble::Store(error) => match error {
            StoreError::Lost(detail) => {
                tracing::debug!(detail, "a session was lost before COMMIT");
                again("connection".to_owned(), Fault::Unavailable)
            }
            StoreError::Unavailable(detail) => {
                tracing::warn!(detail, "the database is unavailable");
                Next::Give(Fault::Unavailable)
            }
            StoreError::Busy => Next::Give(Fault::busy()),
            error => Next::Give(alarm(&error)),
        },
    }
}

/// A failure that nobody foresaw, and louder where the schema had to step in.
fn alarm(error: &StoreError) -> Fault {
    if matches!(error, StoreError::Invariant(_) | StoreError::Stale { .. }) {
        metrics::counter!(signals::INVARIANT_ALARMS).increment(1);
        tracing::error!(%error, "ALARM: the schema refused what the program thought right");
    } else {
        tracing::error!(%error, "a transaction failed");
    }
    Fault::Internal(error.to_string())
}

/// The pause behind the run of this number, from 1.
pub(crate) fn pause_before(attempt: u32) -> Duration {
    let ceiling = PAUSE_FIRST.saturating_mul(1 << attempt.min(8)).min(PAUSE_MAX);
    ceiling.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_the_attempts_and_are_bounded_and_never_the_same() {
        for attempt in 0..20 {
            let ceiling = (PAUSE_FIRST * 2_u32.pow(attempt.min(8))).min(PAUSE_MAX);
            let pauses: Vec<Duration> = (0..64).map(|_| pause_before(attempt)).collect();
            assert!(pauses.iter().all(|pause| *pause >= ceiling / 2 && *pause <= ceiling));
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "they spread");
        }
    }

    /// What callers hear of a run that failed before COMMIT, and whether it is run again first.
    fn heard(trouble: Trouble, commit_unknown: bool, attempt: u32) -> (bool, Fault) {
        match settle(trouble, commit_unknown, attempt) {
            Next::Again { otherwise, .. } => (true, otherwise),
            Next::Give(fault) => (false, fault),
        }
    }

    fn retry() -> StoreError {
        StoreError::Retry { sqlstate: "40001".to_owned() }
    }

    #[test]
    fn behind_a_commit_without_an_answer_no_obstacle_decides() {
        for attempt in [1, ATTEMPTS_MAX, 100] {
            for error in [
                StoreError::Unavailable("away".to_owned()),
                StoreError::Lost("gone".to_owned()),
                StoreError::LockTimeout { sqlstate: "55P03".to_owned() },
                StoreError::WalletHeld,
                StoreError::Busy,
                retry(),
                StoreError::Other("a defect".to_owned()),
            ] {
                let again = (true, Fault::OutcomeUnknown);
                assert_eq!(heard(Trouble::Store(error), true, attempt), again);
            }
            assert_eq!(
                heard(Trouble::KeyUnsettled(retry()), true, attempt),
                (true, Fault::OutcomeUnknown)
            );
        }
    }

    #[test]
    fn of_a_key_that_was_not_looked_up_nothing_is_said() {
        assert_eq!(heard(Trouble::KeyUnsettled(retry()), false, 1), (true, Fault::InProgress));
        let last = (false, Fault::InProgress);
        assert_eq!(heard(Trouble::KeyUnsettled(retry()), false, ATTEMPTS_MAX), last);
        let held = StoreError::LockTimeout { sqlstate: "55P03".to_owned() };
        assert_eq!(heard(Trouble::KeyUnsettled(held), false, 1), last);
        assert_eq!(heard(Trouble::Store(retry()), false, ATTEMPTS_MAX), (false, Fault::Conflict));
    }
}
