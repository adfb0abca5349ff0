//! Lanes: the orders that wait, one queue for each sale that has any.
//!
//! A lane exists while orders of its sale wait or are being decided, and no longer: inventing sale
//! ids makes no lane that outlives its request. The lane is only a queue. What is true is decided
//! under the sale's row lock, so two instances may well have lanes for one sale.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::OrderAnswer;
use crate::domain::id::SaleId;
use crate::domain::order::PlaceOrder;
use crate::logic::fault::Fault;

/// An order that waits, and where its answer goes.
pub(super) struct Waiting {
    /// The order.
    pub(super) order: PlaceOrder,
    /// When it came.
    pub(super) arrived: Instant,
    /// Its caller, who may have left: then the answer goes nowhere, the decision stands.
    pub(super) answer: oneshot::Sender<Result<OrderAnswer, Fault>>,
}

/// How many may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneLimits {
    /// For one sale; and for all those together that may be invented.
    pub(super) per_sale: usize,
    /// In all.
    pub(super) total: usize,
    /// How long the first of a lane may have waited for the lane to take more.
    pub(super) wait_max: Duration,
}

/// What joining a lane led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// The lane has a runner; it will come.
    Running,
    /// The lane is new: start a runner for it.
    StartRunner,
}

/// Why a lane was not joined.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotJoined {
    /// Too many wait; so many in this lane.
    Full(usize),
    /// The lane does not move; so many wait in it.
    Stuck(usize),
    /// No new orders are taken.
    Closed,
}

/// All lanes.
pub(super) struct Lanes {
    limits: LaneLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    by_sale: HashMap<SaleId, Lane>,
    waiting: usize,
    /// Of these, in lanes of strangers.
    strangers: usize,
    closed: bool,
}

/// Who waits for one sale.
struct Lane {
    queue: VecDeque<Waiting>,
    /// Nobody had seen the sale when the lane was made.
    stranger: bool,
}

impl State {
    fn known(&mut self, sale: SaleId) {
        let Some(lane) = self.by_sale.get_mut(&sale).filter(|lane| lane.stranger) else { return };
        lane.stranger = false;
        self.strangers -= lane.queue.len();
    }
}

impl Lanes {
    /// No lanes.
    pub(super) fn new(limits: LaneLimits) -> Lanes {
        Lanes { limits, state: Mutex::default() }
    }

    /// Joins the lane of the order's sale, at its end. The lane of a `stranger`, a sale that nobody
    /// has seen, takes no places from the others.
    pub(super) fn join(&self, waiting: Waiting, stranger: bool) -> Result<Joined, NotJoined> {
        let mut state = self.lock();
        if state.closed {
            return Err(NotJoined::Closed);
        }
        let sale = waiting.order.sale_id;
        if !stranger {
            state.known(sale);
        }
        let lane = state.by_sale.get(&sale);
        let in_lane = lane.map_or(0, |lane| lane.queue.len());
        let stranger = lane.map_or(stranger, |lane| lane.stranger);
        if stranger && state.strangers >= self.limits.per_sale {
            return Err(NotJoined::Full(state.strangers));
        }
        if in_lane >= self.limits.per_sale || state.waiting >= self.limits.total {
            return Err(NotJoined::Full(in_lane));
        }
        let oldest = lane.and_then(|lane| lane.queue.front());
        if oldest.is_some_and(|oldest| oldest.arrived.elapsed() > self.limits.wait_max) {
            return Err(NotJoined::Stuck(in_lane));
        }
        let joined = if lane.is_some() { Joined::Running } else { Joined::StartRunner };
        let made = || Lane { queue: VecDeque::new(), stranger };
        state.by_sale.entry(sale).or_insert_with(made).queue.push_back(waiting);
        state.waiting += 1;
        state.strangers += usize::from(stranger);
        Ok(joined)
    }

    /// Takes up to `most` orders from the front of a lane.
    pub(super) fn take(&self, sale: SaleId, most: usize) -> Vec<Waiting> {
        let mut state = self.lock();
        let Some(lane) = state.by_sale.get_mut(&sale) else { return Vec::new() };
        let count = lane.queue.len().min(most);
        let taken: Vec<Waiting> = lane.queue.drain(..count).collect();
        let strangers = if lane.stranger { taken.len() } else { 0 };
        state.waiting -= taken.len();
        state.strangers -= strangers;
        taken
    }

    /// Whether a lane is one of a sale that nobody had seen when it was made.
    pub(super) fn is_of_stranger(&self, sale: SaleId) -> bool {
        self.lock().by_sale.get(&sale).is_some_and(|lane| lane.stranger)
    }

    /// The sale of a lane was seen.
    pub(super) fn known(&self, sale: SaleId) {
        self.lock().known(sale);
    }

    /// Ends a lane in which nobody waits; `false` when somebody does.
    pub(super) fn end(&self, sale: SaleId) -> bool {
        let mut state = self.lock();
        let empty = state.by_sale.get(&sale).is_none_or(|lane| lane.queue.is_empty());
        if empty {
            state.by_sale.remove(&sale);
        }
        empty
    }

    /// How many wait in all.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// How long the order that has waited longest has waited.
    pub(super) fn oldest(&self) -> Duration {
        let state = self.lock();
        let fronts = state.by_sale.values().filter_map(|lane| lane.queue.front());
        fronts.map(|front| front.arrived.elapsed()).max().unwrap_or_default()
    }

    /// Takes no new orders; those in lanes are still decided.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    /// Nothing panics while it holds the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::IdempotencyKey;
    use crate::domain::quantity::Quantity;
    use crate::logic::ids::new_id;

    fn waiting(sale_id: SaleId) -> Waiting {
        let order = PlaceOrder {
            order_id: new_id(),
            entry_id: new_id(),
            user_id: new_id(),
            sale_id,
            quantity: Quantity::ONE,
            reference: None,
            valid_until: None,
            key: IdempotencyKey::parse(b"key").unwrap(),
        };
        Waiting { order, arrived: Instant::now(), answer: oneshot::channel().0 }
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_all_lanes_is_the_one_that_came_first() {
        let wait_max = Duration::from_secs(60);
        let lanes = Lanes::new(LaneLimits { per_sale: 8, total: 16, wait_max });
        let (one, other): (SaleId, SaleId) = (new_id(), new_id());
        assert_eq!(lanes.oldest(), Duration::ZERO);
        assert_eq!(lanes.join(waiting(one), false), Ok(Joined::StartRunner));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(lanes.join(waiting(other), false), Ok(Joined::StartRunner));
        assert_eq!(lanes.join(waiting(other), false), Ok(Joined::Running));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((lanes.oldest(), lanes.waiting()), (Duration::from_secs(3), 3));
        assert_eq!(lanes.take(one, 8).len(), 1);
        assert_eq!((lanes.oldest(), lanes.waiting()), (Duration::from_secs(1), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_stands_still_and_a_full_house_take_nobody() {
        let wait_max = Duration::from_secs(4);
        let lanes = Lanes::new(LaneLimits { per_sale: 2, total: 3, wait_max });
        let (one, other): (SaleId, SaleId) = (new_id(), new_id());
        assert_eq!(lanes.join(waiting(one), false), Ok(Joined::StartRunner));
        tokio::time::advance(wait_max).await;
        assert_eq!(lanes.join(waiting(one), false), Ok(Joined::Running));
        assert_eq!(lanes.join(waiting(one), false), Err(NotJoined::Full(2)));
        assert_eq!(lanes.join(waiting(other), false), Ok(Joined::StartRunner));
        assert_eq!(lanes.join(waiting(other), false), Err(NotJoined::Full(1)), "full in all");
        assert_eq!(lanes.take(one, 1).len(), 1);
        tokio::time::advance(wait_max + Duration::from_millis(1)).await;
        assert_eq!(lanes.join(waiting(other), false), Err(NotJoined::Stuck(1)));
    }

    #[test]
    fn strangers_take_no_places_from_sales_that_exist() {
        let wait_max = Duration::from_secs(60);
        let lanes = Lanes::new(LaneLimits { per_sale: 2, total: 8, wait_max });
        let (real, found): (SaleId, SaleId) = (new_id(), new_id());
        assert_eq!(lanes.join(waiting(found), true), Ok(Joined::StartRunner));
        assert_eq!(lanes.join(waiting(new_id()), true), Ok(Joined::StartRunner));
        assert_eq!(lanes.join(waiting(new_id()), true), Err(NotJoined::Full(2)));
        assert_eq!(lanes.join(waiting(real), false), Ok(Joined::StartRunner));
        assert!(lanes.is_of_stranger(found) && !lanes.is_of_stranger(real));
        // Seen meanwhile, by whoever joins next.
        assert_eq!(lanes.join(waiting(found), false), Ok(Joined::Running));
        assert!(!lanes.is_of_stranger(found));
        assert_eq!(lanes.join(waiting(new_id()), true), Ok(Joined::StartRunner));
        assert_eq!(lanes.take(found, 8).len(), 2);
        assert_eq!(lanes.join(waiting(new_id()), true), Err(NotJoined::Full(2)));
        assert_eq!(lanes.waiting(), 3);
    }
}
