//! `pessimistic`: one order, one transaction, locks taken first. The baseline, and the reference
//! for what is correct: orders of one sale are decided one after the other by the sale's row lock.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::group::{Group, count_keys};
use super::{Deciding, Engine, OrderAnswer};
use crate::domain::order::PlaceOrder;
use crate::logic::admission::Admission;
use crate::logic::fault::Fault;
use crate::logic::transact::transact;
use crate::ports::signals;
use crate::ports::store::Store;

/// The engine.
pub struct Pessimistic<S> {
    store: S,
    admission: Arc<Admission>,
    time_limit: Duration,
}

impl<S: Store> Pessimistic<S> {
    /// `time_limit` bounds the retries of one order, counted from its arrival.
    pub fn new(store: S, admission: Arc<Admission>, time_limit: Duration) -> Self {
        Pessimistic { store, admission, time_limit }
    }
}

impl<S: Store> Engine for Pessimistic<S> {
    fn name(&self) -> &'static str {
        "pessimistic"
    }

    fn place(&self, order: PlaceOrder) -> Deciding {
        let deadline = Instant::now() + self.time_limit;
        Box::pin(decide(self.store.clone(), Arc::clone(&self.admission), deadline, order))
    }

    fn waiting(&self) -> usize {
        self.admission.waiting()
    }

    fn close(&self) {
        self.admission.close();
    }
}

async fn decide<S: Store>(
    store: S,
    admission: Arc<Admission>,
    deadline: Instant,
    order: PlaceOrder,
) -> Result<OrderAnswer, Fault> {
    let _slot = admission.enter().await?;
    metrics::histogram!(signals::ORDER_GROUP_SIZE).record(1.0);
    let answers = transact(&store, deadline, &mut Group::of_one(order)).await?;
    count_keys(&answers);
    let answer = answers.into_iter().next().flatten();
    answer.ok_or_else(|| Fault::Internal("a group of one has one answer".to_owned()))
}
