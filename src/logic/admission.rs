//! Admission: a bounded queue in front of the database's connections.
//!
//! Connections are few and must never be the queue: a caller who waits inside the pool cannot be
//! counted, ordered or turned away in time. So an order first takes a slot here, and where too many
//! wait, or one has waited too long, it is turned away before any database work: this attempt was
//! not and will not be executed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::fault::Fault;
use super::pace::Pace;
use crate::ports::signals;

/// What admission needs to exist.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionOptions {
    /// Orders that may be decided at the same time: the connections set aside for them.
    pub slots: usize,
    /// Orders that may wait for a slot.
    pub waiting_max: usize,
    /// How long one may wait.
    pub wait_max: Duration,
}

/// The queue. Waiting is first come, first served.
#[derive(Debug)]
pub struct Admission {
    options: AdmissionOptions,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    pace: Arc<Pace>,
}

/// A place among those being decided; leaving scope gives it to the next.
#[derive(Debug)]
pub struct Admitted {
    _slot: OwnedSemaphorePermit,
    pace: Arc<Pace>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.pace.decided(1);
    }
}

impl Admission {
    /// An empty queue.
    pub fn new(options: AdmissionOptions) -> Admission {
        let slots = Arc::new(Semaphore::new(options.slots));
        Admission { options, slots, waiting: AtomicUsize::new(0), pace: Arc::default() }
    }

    /// Waits for a slot.
    ///
    /// # Errors
    /// [`Fault::Overloaded`] when too many wait or this one waited too long, [`Fault::Draining`]
    /// after [`Admission::close`].
    pub async fn enter(&self) -> Result<Admitted, Fault> {
        let began = Instant::now();
        let Some(_place) = Waiting::join(&self.waiting, self.options.waiting_max) else {
            return Err(self.pace.shed("queue_full", self.waiting()));
        };
        let slot = Arc::clone(&self.slots).acquire_owned();
        let entered = tokio::time::timeout(self.options.wait_max, slot).await;
        metrics::histogram!(signals::ORDER_QUEUE_WAIT).record(began.elapsed());
        match entered {
            Ok(Ok(slot)) => Ok(Admitted { _slot: slot, pace: Arc::clone(&self.pace) }),
            Ok(Err(_closed)) => Err(Fault::Draining),
            Err(_elapsed) => Err(self.pace.shed("waited_too_long", self.waiting())),
        }
    }

    /// How many wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Turns away everyone who waits and everyone who comes.
    pub fn close(&self) {
        self.slots.close();
    }
}

/// One who waits; counted while in scope.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(waiting: &'a AtomicUsize, max: usize) -> Option<Waiting<'a>> {
        let joined = waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < max).then_some(n + 1))
            .ok()?;
        metrics::gauge!(signals::ORDER_QUEUE_DEPTH).set((joined + 1) as f64);
        Some(Waiting(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let before = self.0.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!(signals::ORDER_QUEUE_DEPTH).set((before - 1) as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(slots: usize, waiting_max: usize) -> Admission {
        Admission::new(AdmissionOptions { slots, waiting_max, wait_max: Duration::from_secs(2) })
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_turned_away_and_the_queue_moves_on() {
        let admission = admission(1, 8);
        let first = admission.enter().await.unwrap();
        assert!(matches!(admission.enter().await, Err(Fault::Overloaded { .. })));
        drop(first);
        assert!(admission.enter().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_turns_away_at_once_and_a_closed_one_drains() {
        let admission = Arc::new(admission(1, 1));
        let _held = admission.enter().await.unwrap();
        let waiter = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.enter().await.map(drop) }
        });
        tokio::task::yield_now().await;
        let began = Instant::now();
        assert!(matches!(admission.enter().await, Err(Fault::Overloaded { .. })));
        assert_eq!(began.elapsed(), Duration::ZERO);
        admission.close();
        assert_eq!(waiter.await.unwrap(), Err(Fault::Draining));
    }
}
