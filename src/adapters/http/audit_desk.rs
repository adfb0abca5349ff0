//! Audits for callers: one at a time, and never longer than a caller waits.
//!
//! The books of millions of orders take longer to read than a request may last. Then the caller is
//! asked to come back, the reading goes on, and its result waits for whoever asks next.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::domain::books::Audit;

/// A report that nobody fetched is kept this long.
const KEPT: Duration = Duration::from_secs(60);

/// The desk.
#[derive(Debug, Clone)]
pub(super) struct AuditDesk {
    turn: Arc<Semaphore>,
    unclaimed: Arc<Mutex<Option<(Instant, Audit)>>>,
}

impl Default for AuditDesk {
    fn default() -> Self {
        AuditDesk { turn: Arc::new(Semaphore::new(1)), unclaimed: Arc::default() }
    }
}

impl AuditDesk {
    /// The right to begin an audit, unless one is running.
    pub(super) fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turn).try_acquire_owned().ok()
    }

    /// A finished report that nobody has fetched yet.
    pub(super) fn fetch(&self) -> Option<Audit> {
        let unclaimed = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).take();
        unclaimed.filter(|(finished, _)| finished.elapsed() < KEPT).map(|(_, audit)| audit)
    }

    /// Runs an audit to its end and lays its report on the desk.
    pub(super) async fn run<E>(
        self,
        turn: OwnedSemaphorePermit,
        audit: impl Future<Output = Result<Audit, E>>,
    ) -> Result<(), E> {
        let report = audit.await?;
        *self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), report));
        drop(turn);
        Ok(())
    }
}
