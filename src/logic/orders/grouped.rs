//! `grouped`: the orders that wait for one sale are decided together, in one transaction.
//!
//! While one group is decided, the next gathers by itself: a lone order goes at once, a crowd
//! shares one lock and one flush. Nothing lingers in the hope of company.
//!
//! When a group has written everything and only COMMIT is left, the next sets out: it claims its
//! keys while the first is flushed, and waits for the sale's lock in the database, which hands it
//! over without a word to us. With a database far away it sets out a step earlier, when the first
//! is decided. It always asks for the lock when its predecessor has it, so orders are decided in
//! the order in which they joined their lane. Only a group that fails behind this point lets later
//! orders pass before it runs again.
//!
//! Who joins the lane while BEGIN is under way comes along: the further the database, the more that
//! are saved a turn.
//!
//! What cannot be decided together is decided apart (`apart`).
//!
//! Each lane takes a slot in its turn, so orders for a thousand invented sales would stand a
//! thousand times before those of the one that exists. A lane of a sale that nobody has seen yet
//! has a quarter of the slots, and of the places in line no more than any one sale.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use tracing::Instrument;

use super::apart;
use super::distance::Distance;
use super::group::{Boarding, Group};
use super::held::{Held, Until};
use super::lanes::{Joined, LaneLimits, Lanes, NotJoined, Waiting};
use super::{Deciding, Engine, OrderAnswer, is_of_a_sale};
use crate::domain::id::SaleId;
use crate::domain::order::PlaceOrder;
use crate::logic::admission::TOTAL_PER_SALE;
use crate::logic::fault::Fault;
use crate::logic::keyed::count_all;
use crate::logic::known_sales::{KnownSales, share_of_strangers};
use crate::logic::pace::Pace;
use crate::logic::transact::transact;
use crate::ports::signals;
use crate::ports::store::Store;

/// The largest group. Larger ones gain little and make everyone in them wait for the last.
pub const GROUP_MAX: usize = 1_024;
/// What the engine needs to exist.
#[derive(Debug, Clone, Copy)]
pub struct GroupedOptions {
    /// Groups that may be decided at the same time: the connections set aside for orders.
    pub slots: usize,
    /// Orders that may wait for one sale.
    pub waiting_max: usize,
    /// How long one may wait before it is turned away unexecuted.
    pub wait_max: Duration,
    /// Bounds the retries of one group, counted from the arrival of its first order.
    pub time_limit: Duration,
}

/// The engine.
pub struct Grouped<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    store: S,
    lanes: Lanes,
    pace: Pace,
    distance: Distance,
    slots: Semaphore,
    /// Of the slots, those for sales that nobody has seen.
    strangers: Semaphore,
    known: Arc<KnownSales>,
    options: GroupedOptions,
}

impl<S: Store> Grouped<S> {
    /// An engine without lanes. It notes in `known` which sales exist, as others do.
    pub fn new(store: S, options: GroupedOptions, known: Arc<KnownSales>) -> Grouped<S> {
        let limits = LaneLimits {
            per_sale: options.waiting_max,
            total: options.waiting_max.saturating_mul(TOTAL_PER_SALE),
            wait_max: options.wait_max,
        };
        let (lanes, slots) = (Lanes::new(limits), Semaphore::new(options.slots));
        let strangers = Semaphore::new(share_of_strangers(options.slots));
        let (pace, distance) = (Pace::default(), Distance::default());
        let shared = Shared { store, lanes, pace, distance, slots, strangers, known, options };
        Grouped { shared: Arc::new(shared) }
    }
}

impl<S: Store> Engine for Grouped<S> {
    fn name(&self) -> &'static str {
        "grouped"
    }

    fn place(&self, order: PlaceOrder) -> Deciding {
        let sale = order.sale_id;
        let (answer, decided) = oneshot::channel();
        let waiting = Waiting { order, arrived: Instant::now(), answer };
        match self.shared.lanes.join(waiting, !self.shared.known.has(sale)) {
            Ok(Joined::Running) => {}
            Ok(Joined::StartRunner) => {
                // The first of a lane takes it to the database itself: a lone order is decided
                // where it stands, without a word to another task.
                let turn = Turn { shared: Arc::clone(&self.shared), sale };
                return Box::pin(async move {
                    let (mut running, mut decided) = (Box::pin(run(turn)), decided);
                    tokio::select! {
                        () = &mut running => decided.await.unwrap_or_else(gone),
                        answer = &mut decided => {
                            // Of a group in parts its own is decided; the others are still to come.
                            tokio::spawn(running);
                            answer.unwrap_or_else(gone)
                        }
                    }
                });
            }
            Err(NotJoined::Full(waiting)) => {
                let fault = self.shared.pace.shed("queue_full", waiting);
                return Box::pin(async move { Err(fault) });
            }
            Err(NotJoined::Stuck(waiting)) => {
                let fault = self.shared.pace.shed("queue_stuck", waiting);
                return Box::pin(async move { Err(fault) });
            }
            Err(NotJoined::Closed) => return Box::pin(async { Err(Fault::Draining) }),
        }
        Box::pin(async move { decided.await.unwrap_or_else(gone) })
    }

    fn waiting(&self) -> usize {
        self.shared.lanes.waiting()
    }

    fn oldest(&self) -> Duration {
        self.shared.lanes.oldest()
    }

    fn close(&self) {
        self.shared.lanes.close();
    }
}

fn gone(_: oneshot::error::RecvError) -> Result<OrderAnswer, Fault> {
    Err(Fault::Internal("a lane ended without an answer".to_owned()))
}

/// The right to take the next group of a lane. It passes on when the group lets go of it, at the
/// latest when it has ended, also by a panic: the lane ends, or a task of its own takes the next
/// group. Whoever waits for an answer waits for that task, so shut-down, which waits for them,
/// needs no list of runners.
struct Turn<S: Store> {
    shared: Arc<Shared<S>>,
    sale: SaleId,
}

impl<S: Store> Drop for Turn<S> {
    fn drop(&mut self) {
        if !self.shared.lanes.end(self.sale) {
            let (shared, sale) = (Arc::clone(&self.shared), self.sale);
            // The next turn begins when its task does: a runtime that ends drops tasks unrun, and
            // a turn in such a task would be passed on for ever.
            tokio::spawn(async move { run(Turn { shared, sale }).await });
        }
    }
}

/// Takes what waits and decides it.
async fn run<S: Store>(turn: Turn<S>) {
    let (shared, sale) = (Arc::clone(&turn.shared), turn.sale);
    let _stranger = match shared.lanes.is_of_stranger(sale) && !shared.known.has(sale) {
        true => shared.strangers.acquire().await.ok(),
        false => None,
    };
    // The slot first: while a lane waits for it, its next group grows.
    let Ok(_slot) = shared.slots.acquire().await else { return };
    let taken = shared.lanes.take(sale, GROUP_MAX);
    shared.decide(sale, taken, Box::new(turn)).await;
}

impl<S: Store> Shared<S> {
    /// Decides a group, in parts where it cannot be decided whole. The turn goes with the last.
    async fn decide(self: &Arc<Self>, sale: SaleId, taken: Vec<Waiting>, turn: Held) {
        let mut turn = Some(turn);
        let mut parts = vec![self.turn_away_late(taken)];
        let (boarding, mut along) = self.boarding(sale);
        let mut boarding = Some(boarding);
        while let Some(mut part) = parts.pop() {
            part = self.turn_away(part, self.options.time_limit);
            let Some(first) = part.first() else { continue };
            let deadline = first.arrived + self.options.time_limit;
            let span = tracing::debug_span!("group", %sale, size = tracing::field::Empty);
            let orders = part.iter().map(|waiting| waiting.order.clone()).collect();
            let with_it = if parts.is_empty() { turn.take() } else { None };
            let until = if self.distance.is_far() { Until::Decided } else { Until::Written };
            let group = Group::new(sale, orders).holding(with_it, until);
            let mut group = group.boarding(boarding.take());
            let decided =
                transact(&self.store, deadline, &mut group).instrument(span.clone()).await;
            part.extend(along.try_recv().unwrap_or_default());
            let fault = decided.as_ref().err().map(tracing::field::debug);
            span.in_scope(|| tracing::debug!(fault, "a group was taken to the database"));
            group.begun_after().into_iter().for_each(|trip| self.distance.note(trip));
            let (held, known) = group.into_rest();
            turn = turn.or(held);
            if decided.is_err() {
                part = apart::tell_known(part, known);
            }
            match decided {
                Ok(answers) => {
                    metrics::histogram!(signals::ORDER_GROUP_SIZE).record(part.len() as f64);
                    if answers.iter().any(is_of_a_sale) {
                        self.known.note(sale);
                        self.lanes.known(sale);
                    }
                    count_all(&answers);
                    self.pace.decided(part.len());
                    let answered = part.into_iter().zip(answers);
                    answered.for_each(|(waiting, answer)| waiting.tell(Ok(answer)));
                }
                Err(Fault::WalletHeld) if part.len() > 1 => {
                    parts.extend(apart::by_wallets(&self.store, deadline, part).await);
                }
                Err(Fault::TooLate(moment)) if part.len() > 1 => {
                    metrics::counter!(signals::RETRIES, "sqlstate" => "too_late").increment(1);
                    parts.extend(apart::by_last_moment(part, moment));
                }
                Err(fault) if part.len() > 1 && apart::one_may_be_to_blame(&fault) => {
                    parts.extend(apart::split(part));
                }
                Err(fault) => {
                    if fault == Fault::Unavailable {
                        // Nobody behind them would fare better; each was to wait in vain.
                        parts.push(self.lanes.take(sale, usize::MAX));
                        parts.drain(..).flatten().for_each(|one| one.tell(Err(fault.clone())));
                    }
                    part.into_iter().for_each(|one| one.tell(Err(fault.clone())));
                }
            }
        }
    }

    /// Who comes while BEGIN is under way comes along: their way in, and who they were.
    fn boarding(self: &Arc<Self>, sale: SaleId) -> (Boarding, oneshot::Receiver<Vec<Waiting>>) {
        let (shared, (aboard, along)) = (Arc::clone(self), oneshot::channel());
        let boarding = move |already: usize| {
            let taken = shared.lanes.take(sale, GROUP_MAX.saturating_sub(already));
            let taken = shared.turn_away_late(taken);
            let orders = taken.iter().map(|waiting| waiting.order.clone()).collect();
            // Whoever asked for them waits for the group to end.
            let _ = aboard.send(taken);
            orders
        };
        (Box::new(boarding), along)
    }

    /// Who has waited too long for a place in a group is told so and not executed.
    fn turn_away_late(&self, taken: Vec<Waiting>) -> Vec<Waiting> {
        let (waits, now) = (metrics::histogram!(signals::ORDER_QUEUE_WAIT), Instant::now());
        taken.iter().for_each(|waiting| waits.record(now - waiting.arrived));
        self.turn_away(taken, self.options.wait_max)
    }

    /// Whoever came longer ago is told that this attempt is not executed. A part of a group may
    /// have waited for the parts before it until nobody listens any more.
    fn turn_away(&self, mut waiting: Vec<Waiting>, wait_max: Duration) -> Vec<Waiting> {
        let now = Instant::now();
        let late = waiting.extract_if(.., |one| now - one.arrived > wait_max);
        let turned_away = || self.pace.shed("waited_too_long", self.lanes.waiting() + 1);
        late.for_each(|one| one.tell(Err(turned_away())));
        waiting
    }
}

impl Waiting {
    /// Answers; a caller who left is not an error.
    pub(super) fn tell(self, answer: Result<OrderAnswer, Fault>) {
        let _ = self.answer.send(answer);
    }
}
