//! One order, one transaction: what `pessimistic` and `optimistic` share.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::group::{Group, Locking};
use super::{Deciding, Engine, OrderAnswer, is_of_a_sale};
use crate::domain::order::PlaceOrder;
use crate::logic::admission::Admission;
use crate::logic::fault::Fault;
use crate::logic::keyed::count_all;
use crate::logic::transact::transact;
use crate::ports::signals;
use crate::ports::store::Store;

/// An engine that decides each order alone.
pub struct Alone<S> {
    locking: Locking,
    store: S,
    admission: Arc<Admission>,
    time_limit: Duration,
}

impl<S: Store> Alone<S> {
    /// `pessimistic`: the sale's row is locked, then the wallet's row, then both are read. The
    /// baseline, and the reference for what is correct: orders of one sale are decided one after
    /// the other by the sale's row lock.
    ///
    /// `time_limit` bounds the retries of one order, counted from its arrival.
    pub fn pessimistic(store: S, admission: Arc<Admission>, time_limit: Duration) -> Self {
        Alone { locking: Locking::First, store, admission, time_limit }
    }

    /// `optimistic`: nothing is locked before it is read; the write succeeds only where nothing
    /// has changed since, is tried again a few times, and then is a conflict. Cheap where buyers
    /// rarely meet, hopeless where they all do.
    pub fn optimistic(store: S, admission: Arc<Admission>, time_limit: Duration) -> Self {
        Alone { locking: Locking::Never, store, admission, time_limit }
    }
}

impl<S: Store> Engine for Alone<S> {
    fn name(&self) -> &'static str {
        match self.locking {
            Locking::First => "pessimistic",
            Locking::Never => "optimistic",
        }
    }

    fn place(&self, order: PlaceOrder) -> Deciding {
        let deadline = Instant::now() + self.time_limit;
        let group = Group::of_one(order, self.locking);
        Box::pin(decide(self.store.clone(), Arc::clone(&self.admission), deadline, group))
    }

    fn waiting(&self) -> usize {
        self.admission.waiting()
    }

    fn oldest(&self) -> Duration {
        self.admission.oldest()
    }

    fn close(&self) {
        self.admission.close();
    }
}

async fn decide<S: Store>(
    store: S,
    admission: Arc<Admission>,
    deadline: Instant,
    mut group: Group,
) -> Result<OrderAnswer, Fault> {
    let _slot = admission.enter(group.sale_id()).await?;
    let answers = transact(&store, deadline, &mut group).await?;
    metrics::histogram!(signals::ORDER_GROUP_SIZE).record(1.0);
    if answers.iter().any(is_of_a_sale) {
        admission.seen(group.sale_id());
    }
    count_all(&answers);
    let answer = answers.into_iter().next();
    answer.ok_or_else(|| Fault::Internal("a group of one has one answer".to_owned()))
}
