//! Lanes: the orders that wait, one queue for each sale that has any.
//!
//! A lane exists while orders of its sale wait or are being decided, and no longer: inventing sale
//! ids makes no lane that outlives its request. The lane is only a queue. What is true is decided
//! under the sale's row lock, so two instances may well have lanes for one sale.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::OrderAnswer;
use crate::domain::id::SaleId;
use crate::domain::order::PlaceOrder;
use crate::logic::fault::Fault;
use crate::ports::signals;

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
    /// For one sale.
    pub(super) per_sale: usize,
    /// In all.
    pub(super) total: usize,
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
    /// Too many wait.
    Full,
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
    by_sale: HashMap<SaleId, VecDeque<Waiting>>,
    waiting: usize,
    closed: bool,
}

impl Lanes {
    /// No lanes.
    pub(super) fn new(limits: LaneLimits) -> Lanes {
        Lanes { limits, state: Mutex::default() }
    }

    /// Joins the lane of the order's sale, at its end.
    pub(super) fn join(&self, waiting: Waiting) -> Result<Joined, NotJoined> {
        let mut state = self.lock();
        if state.closed {
            return Err(NotJoined::Closed);
        }
        let sale = waiting.order.sale_id;
        let in_lane = state.by_sale.get(&sale).map_or(0, VecDeque::len);
        if in_lane >= self.limits.per_sale || state.waiting >= self.limits.total {
            return Err(NotJoined::Full);
        }
        let joined =
            if state.by_sale.contains_key(&sale) { Joined::Running } else { Joined::StartRunner };
        state.by_sale.entry(sale).or_default().push_back(waiting);
        state.waiting += 1;
        state.show();
        Ok(joined)
    }

    /// Takes up to `most` orders from the front of a lane. An empty answer ends the lane: its
    /// runner must stop.
    pub(super) fn take(&self, sale: SaleId, most: usize) -> Vec<Waiting> {
        let mut state = self.lock();
        let Some(lane) = state.by_sale.get_mut(&sale) else { return Vec::new() };
        let count = lane.len().min(most);
        let taken: Vec<Waiting> = lane.drain(..count).collect();
        if taken.is_empty() {
            state.by_sale.remove(&sale);
        }
        state.waiting -= taken.len();
        state.show();
        taken
    }

    /// Puts orders back to the front of a lane that is still running.
    pub(super) fn put_back(&self, sale: SaleId, orders: Vec<Waiting>) {
        let mut state = self.lock();
        state.waiting += orders.len();
        let lane = state.by_sale.entry(sale).or_default();
        orders.into_iter().rev().for_each(|order| lane.push_front(order));
    }

    /// How many wait in all.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
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

impl State {
    fn show(&self) {
        metrics::gauge!(signals::ORDER_QUEUE_DEPTH).set(self.waiting as f64);
    }
}
