//! What the last check of the books found, whoever asked for it: the service, or an operator.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::domain::books::Audit;

/// One for the process, as its gauges are.
static LAST: Mutex<Option<Checked>> = Mutex::new(None);

/// When the books were checked, and how many discrepancies there were.
#[derive(Debug, Clone, Copy)]
pub struct Checked {
    /// The end of the check.
    pub at: Instant,
    /// What was found.
    pub discrepancies: usize,
}

/// Notes a check that has ended now. Books that do not balance are an alarm, each time.
pub fn note(audit: &Audit) {
    for found in &audit.discrepancies {
        tracing::error!(%found, "ALARM: the books do not balance");
    }
    *last_one() = Some(Checked { at: Instant::now(), discrepancies: audit.discrepancies.len() });
}

/// The last check, if there was one.
pub fn last() -> Option<Checked> {
    *last_one()
}

/// Nothing panics while it holds the lock, so a poisoned one is as good as any.
fn last_one() -> MutexGuard<'static, Option<Checked>> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}
