//! Admission: a bounded queue in front of the database's connections.
//!
//! Connections are few and must never be the queue: a caller who waits inside the pool cannot be
//! counted, ordered or turned away in time. So an order first takes a slot here, and where too many
//! wait, or one has waited too long, it is turned away before any database work: this attempt was
//! not and will not be executed.
//!
//! Orders for sales that nobody has seen, which anybody can invent, have a quarter of the slots and
//! of the places in the queue.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::fault::Fault;
use super::known_sales::{KnownSales, share_of_strangers};
use super::pace::Pace;
use crate::domain::id::SaleId;
use crate::ports::signals;

/// Orders that may wait in all, as a multiple of what may wait for one sale.
pub(super) const TOTAL_PER_SALE: usize = 4;

/// What admission needs to exist.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionOptions {
    /// Orders that may be decided at the same time: the connections set aside for them.
    pub slots: usize,
    /// Orders of one sale that may wait for a slot.
    pub waiting_max: usize,
    /// How long one may wait.
    pub wait_max: Duration,
}

/// The queue. Waiting is first come, first served.
#[derive(Debug)]
pub struct Admission {
    options: AdmissionOptions,
    slots: Arc<Semaphore>,
    waiting: Line,
    /// Of the slots and of the places, those for sales that nobody has seen.
    strangers: Arc<Semaphore>,
    strangers_waiting: Semaphore,
    known: Arc<KnownSales>,
    pace: Arc<Pace>,
}

/// A place among those being decided; leaving scope gives it to the next.
#[derive(Debug)]
pub struct Admitted {
    _slot: OwnedSemaphorePermit,
    _stranger: Option<OwnedSemaphorePermit>,
    pace: Arc<Pace>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.pace.decided(1);
    }
}

impl Admission {
    /// An empty queue. It notes in `known` which sales exist, as others do.
    pub fn new(options: AdmissionOptions, known: Arc<KnownSales>) -> Admission {
        let share = |of: usize| Semaphore::new(share_of_strangers(of));
        Admission {
            options,
            slots: Arc::new(Semaphore::new(options.slots)),
            waiting: Line::default(),
            strangers: Arc::new(share(options.slots)),
            strangers_waiting: share(options.waiting_max),
            known,
            pace: Arc::default(),
        }
    }

    /// Waits for a slot for an order of `sale`.
    ///
    /// # Errors
    /// [`Fault::Overloaded`] when too many wait or this one waited too long, [`Fault::Draining`]
    /// after [`Admission::close`].
    pub async fn enter(&self, sale: SaleId) -> Result<Admitted, Fault> {
        let (began, stranger) = (Instant::now(), !self.known.has(sale));
        let full = || self.pace.shed("queue_full", self.waiting());
        let _among_strangers = match stranger {
            true => Some(self.strangers_waiting.try_acquire().map_err(|_full| full())?),
            false => None,
        };
        let waits = self.waiting.join(began, sale, self.options.waiting_max);
        let _place = waits.ok_or_else(full)?;
        let slots = async {
            let stranger = match stranger {
                true => Some(Arc::clone(&self.strangers).acquire_owned().await?),
                false => None,
            };
            Ok::<_, AcquireError>((Arc::clone(&self.slots).acquire_owned().await?, stranger))
        };
        let entered = tokio::time::timeout(self.options.wait_max, slots).await;
        metrics::histogram!(signals::ORDER_QUEUE_WAIT).record(began.elapsed());
        match entered {
            Ok(Ok((_slot, _stranger))) => {
                Ok(Admitted { _slot, _stranger, pace: Arc::clone(&self.pace) })
            }
            Ok(Err(_closed)) => Err(Fault::Draining),
            Err(_elapsed) => Err(self.pace.shed("waited_too_long", self.waiting())),
        }
    }

    /// A sale was seen: it is no stranger's any more.
    pub fn seen(&self, sale: SaleId) {
        self.known.note(sale);
    }

    /// How many wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.arrivals().since.len()
    }

    /// How long the one that has waited longest has waited.
    pub fn oldest(&self) -> Duration {
        let first = self.waiting.arrivals().since.first().copied();
        first.map_or(Duration::ZERO, |(came, _)| came.elapsed())
    }

    /// Turns away everyone who waits and everyone who comes.
    pub fn close(&self) {
        self.slots.close();
        self.strangers.close();
    }
}

/// Who waits.
#[derive(Debug, Default)]
struct Line(Mutex<Arrivals>);

/// When those who wait came, how many wait for each sale, and how many have come at all.
#[derive(Debug, Default)]
struct Arrivals {
    since: BTreeSet<(Instant, u64)>,
    by_sale: HashMap<SaleId, usize>,
    ever: u64,
}

/// One who waits; counted while in scope.
struct Waiting<'a> {
    line: &'a Line,
    sale: SaleId,
    came: (Instant, u64),
}

impl Line {
    fn join(&self, now: Instant, sale: SaleId, per_sale: usize) -> Option<Waiting<'_>> {
        let mut arrivals = self.arrivals();
        let of_sale = arrivals.by_sale.get(&sale).copied().unwrap_or(0);
        let total = per_sale.saturating_mul(TOTAL_PER_SALE);
        if of_sale >= per_sale || arrivals.since.len() >= total {
            return None;
        }
        arrivals.by_sale.insert(sale, of_sale + 1);
        arrivals.ever += 1;
        let came = (now, arrivals.ever);
        arrivals.since.insert(came);
        metrics::gauge!(signals::ORDER_QUEUE_DEPTH).set(arrivals.since.len() as f64);
        Some(Waiting { line: self, sale, came })
    }

    /// Nothing panics while it holds the lock, so a poisoned one is as good as any.
    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut arrivals = self.line.arrivals();
        arrivals.since.remove(&self.came);
        if let Some(of_sale) = arrivals.by_sale.get_mut(&self.sale) {
            *of_sale -= 1;
            if *of_sale == 0 {
                arrivals.by_sale.remove(&self.sale);
            }
        }
        metrics::gauge!(signals::ORDER_QUEUE_DEPTH).set(arrivals.since.len() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::ids::new_id;

    const WAIT_MAX: Duration = Duration::from_secs(2);

    /// An admission, and a sale that it knows.
    fn admission(slots: usize, waiting_max: usize) -> (Arc<Admission>, SaleId) {
        let options = AdmissionOptions { slots, waiting_max, wait_max: WAIT_MAX };
        let (known, sale) = (Arc::<KnownSales>::default(), new_id());
        known.note(sale);
        (Arc::new(Admission::new(options, known)), sale)
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_turned_away_and_the_queue_moves_on() {
        let (admission, sale) = admission(1, 8);
        let first = admission.enter(sale).await.unwrap();
        assert!(matches!(admission.enter(sale).await, Err(Fault::Overloaded { .. })));
        drop(first);
        assert!(admission.enter(sale).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_is_the_one_that_has_waited_longest() {
        let (admission, sale) = admission(1, 8);
        let held = admission.enter(sale).await.unwrap();
        assert_eq!(admission.oldest(), Duration::ZERO, "who is being decided does not wait");
        let wait = || {
            let admission = Arc::clone(&admission);
            tokio::spawn(async move { admission.enter(sale).await.map(drop) })
        };
        let first = wait();
        tokio::time::sleep(WAIT_MAX / 2).await;
        let second = wait();
        tokio::task::yield_now().await;
        assert_eq!((admission.oldest(), admission.waiting()), (WAIT_MAX / 2, 2));
        drop(held);
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Ok(())));
        assert_eq!((admission.oldest(), admission.waiting()), (Duration::ZERO, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_turns_away_at_once_and_a_closed_one_drains() {
        let (admission, sale) = admission(1, 1);
        let _held = admission.enter(sale).await.unwrap();
        let waiter = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.enter(sale).await.map(drop) }
        });
        tokio::task::yield_now().await;
        let began = Instant::now();
        assert!(matches!(admission.enter(sale).await, Err(Fault::Overloaded { .. })));
        assert_eq!(began.elapsed(), Duration::ZERO);
        admission.close();
        assert_eq!(waiter.await.unwrap(), Err(Fault::Draining));
    }

    #[tokio::test(start_paused = true)]
    async fn a_sale_with_a_full_queue_leaves_places_to_others_up_to_four_queues_in_all() {
        let (admission, sale) = admission(1, 2);
        let _held = admission.enter(sale).await.unwrap();
        let wait = |sale| {
            admission.seen(sale);
            let admission = Arc::clone(&admission);
            tokio::spawn(async move { admission.enter(sale).await.map(drop) })
        };
        let others: Vec<SaleId> = (0..5).map(|_| new_id()).collect();
        let crowd = std::iter::once(&sale).chain(&others).flat_map(|sale| [*sale; 3]);
        let crowd: Vec<_> = crowd.map(wait).collect();
        tokio::task::yield_now().await;
        let began = Instant::now();
        assert_eq!(admission.waiting(), 8, "two of each of four sales");
        assert!(matches!(admission.enter(others[4]).await, Err(Fault::Overloaded { .. })));
        assert_eq!(began.elapsed(), Duration::ZERO);
        for one in crowd {
            assert!(matches!(one.await.unwrap(), Err(Fault::Overloaded { .. })));
        }
        assert!(admission.waiting.arrivals().by_sale.is_empty(), "nobody waits, nothing is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn orders_for_invented_sales_leave_slots_and_places_to_those_that_exist() {
        let (admission, sale) = admission(4, 8);
        let _invented = admission.enter(new_id()).await.unwrap();
        let wait = || {
            let admission = Arc::clone(&admission);
            tokio::spawn(async move { admission.enter(new_id()).await.map(drop) })
        };
        let waiting = [wait(), wait()];
        tokio::task::yield_now().await;
        let began = Instant::now();
        assert!(matches!(admission.enter(new_id()).await, Err(Fault::Overloaded { .. })));
        let mut real = Vec::new();
        for _ in 0..3 {
            real.push(admission.enter(sale).await.unwrap());
        }
        let found = new_id();
        admission.seen(found);
        real.pop();
        assert!(admission.enter(found).await.is_ok());
        assert_eq!((began.elapsed(), admission.waiting()), (Duration::ZERO, 2));
        for stranger in waiting {
            assert!(matches!(stranger.await.unwrap(), Err(Fault::Overloaded { .. })));
        }
    }
}
