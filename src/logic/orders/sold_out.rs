//! Sold out, and everyone still presses Buy: the answer from memory.
//!
//! Once stock 0 is committed nobody can win any more. Only a key that made an order before, in this
//! sale or in another, must still be looked up; so whoever has ever bought goes the long way, and
//! everyone else is told "sold out" here (`buyers` remembers them).
//!
//! It is only ever a negative cache. What it says is at most [`BELIEVED`] old, whoever may have
//! brought stock back (another instance, an operator's SQL); an order near its `valid_until` or the
//! end of the sale's window goes the long way: only the database's clock decides those.
//!
//! One winner can be told "sold out": when an operator has brought stock back by SQL, and someone
//! who never bought before wins at another instance and asks again here, with the same key, while
//! the last look is still believed. The order stands all the same, and a moment later its key is
//! answered with it (`docs/RUNBOOK.md`, "Stock that comes back").

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::{Instant, timeout};

use super::buyers::{Buyers, Of};
use super::{Deciding, Engine};
use crate::domain::Instant as Moment;
use crate::domain::decision::{Buyer, decide};
use crate::domain::id::{SaleId, UserId};
use crate::domain::order::PlaceOrder;
use crate::domain::refusal::Refusal;
use crate::domain::sale::Sale;
use crate::logic::keyed::Answer;
use crate::ports::read::Reads;
use crate::ports::store::StoreError;

/// How long "sold out" is believed after it was last seen in the database.
pub const BELIEVED: Duration = Duration::from_secs(1);
/// How often it is looked at, as long as anyone asks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A clock that was read a moment ago may be this far off.
const EDGE: TimeDelta = TimeDelta::seconds(2);
/// Buyers that are remembered (16 MiB).
pub const BUYERS_MAX: usize = 500_000;
/// How long nothing is answered from memory when even those of the sales at hand do not fit.
const CLOSED_FOR: Duration = Duration::from_secs(60);
/// Orders read at a time.
const ORDERS_AT_A_TIME: u32 = 20_000;
/// How long one read may take. The server ends statements sooner; this is for a session that has
/// gone silent, whose reader would wait for ever.
const READ_MAX: Duration = Duration::from_secs(10);
/// Sales watched at a time.
const SALES_MAX: usize = 256;

/// An engine with the shortcut in front of it.
pub struct SoldOut<R> {
    engine: Arc<dyn Engine>,
    known: Arc<Known<R>>,
}

struct Known<R> {
    reads: R,
    buyers_max: usize,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// Sales that were seen without stock.
    facts: HashMap<SaleId, Fact>,
    /// Sales that somebody wanted, and when last.
    wanted: HashMap<SaleId, Instant>,
    /// Who is not to be told from memory.
    buyers: Buyers,
    watching: bool,
    /// There were too many buyers: nobody is watched until then.
    closed_until: Option<Instant>,
}

/// A sale without stock.
struct Fact {
    sale: Sale,
    read_at: Moment,
    seen: Instant,
}

impl<R: Reads> SoldOut<R> {
    /// The shortcut in front of `engine`, with so many buyers to remember ([`BUYERS_MAX`]).
    pub fn new(engine: Arc<dyn Engine>, reads: R, buyers_max: usize) -> SoldOut<R> {
        let known = Known { reads, buyers_max, state: RwLock::default() };
        SoldOut { engine, known: Arc::new(known) }
    }
}

impl<R: Reads> Engine for SoldOut<R> {
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    fn place(&self, order: PlaceOrder) -> Deciding {
        let sale = order.sale_id;
        if let Some((refusal, age)) = self.known.refuse(&order) {
            if age > LOOK_EVERY {
                Known::want(&self.known, sale);
            }
            return Box::pin(async move { Ok(Answer::Refused(refusal)) });
        }
        let (deciding, known) = (self.engine.place(order), Arc::clone(&self.known));
        Box::pin(async move {
            let outcome = deciding.await;
            match &outcome {
                Ok(Answer::Made(order)) => known.bought(order.user_id),
                Ok(Answer::Refused(Refusal::OutOfStock { stock: 0 })) => Known::want(&known, sale),
                _ => {}
            }
            outcome
        })
    }

    fn waiting(&self) -> usize {
        self.engine.waiting()
    }

    fn oldest(&self) -> Duration {
        self.engine.oldest()
    }

    fn close(&self) {
        self.engine.close();
    }
}

impl<R: Reads> Known<R> {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The refusal, and how long ago its reason was seen; `None` for the long way.
    fn refuse(&self, order: &PlaceOrder) -> Option<(Refusal, Duration)> {
        let state = self.read();
        let fact = state.facts.get(&order.sale_id)?;
        let age = fact.seen.elapsed();
        if age > BELIEVED || state.buyers.know(order.user_id) {
            return None;
        }
        let now = fact.read_at + TimeDelta::from_std(age).ok()?;
        if order.valid_until.is_some_and(|last| last < now + EDGE) {
            return None;
        }
        // It was open when it was seen; what may have come since is its end.
        if !fact.sale.is_open(fact.read_at) || !fact.sale.is_open(now + EDGE) {
            return None;
        }
        match decide(Some(&fact.sale), &Buyer::default(), order, now) {
            Err(refusal @ (Refusal::OutOfStock { .. } | Refusal::LimitReached { .. })) => {
                Some((refusal, age))
            }
            _ => None,
        }
    }

    /// A buyer of this instance is known at once. While nothing is watched nobody needs to know:
    /// the next look begins by reading everyone who has committed until then.
    fn bought(&self, user: UserId) {
        if self.read().watching {
            self.write().buyers.note(user);
        }
    }

    /// Somebody asks for a sale that is said to be sold out: watch it for a while.
    fn want(known: &Arc<Known<R>>, sale: SaleId) {
        let mut state = known.write();
        let full = state.wanted.len() >= SALES_MAX && !state.wanted.contains_key(&sale);
        if full || state.closed_until.is_some_and(|moment| Instant::now() < moment) {
            return;
        }
        state.wanted.insert(sale, Instant::now());
        if !std::mem::replace(&mut state.watching, true) {
            state.buyers.noted_from_now();
            tokio::spawn(Arc::clone(known).watch());
        }
    }

    /// Looks at the wanted sales until nobody wants them any more.
    async fn watch(self: Arc<Self>) {
        let _watching = Watching(Arc::clone(&self));
        let mut looked = true;
        loop {
            let wanted: Vec<SaleId> = {
                let mut state = self.write();
                state.wanted.retain(|_, last| last.elapsed() < BELIEVED);
                let State { facts, wanted, .. } = &mut *state;
                facts.retain(|sale, _| wanted.contains_key(sale));
                state.watching = !state.wanted.is_empty();
                state.wanted.keys().copied().collect()
            };
            if wanted.is_empty() {
                return;
            }
            let found = self.look(&wanted).await;
            if let Err(error) = &found
                && looked
            {
                tracing::warn!(%error, "sales are not looked at: sold-out orders go the long way");
            }
            looked = found.is_ok();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// First the stock, then the buyers: whoever won has done so before the stock was seen to be 0.
    async fn look(&self, wanted: &[SaleId]) -> Result<(), StoreError> {
        let mut seen = Vec::with_capacity(wanted.len());
        for id in wanted {
            // The age counts from before the question.
            let asked = Instant::now();
            seen.push((*id, asked, answered(self.reads.find_sale(*id)).await?));
        }
        let followed = self.follow(wanted).await?;
        let mut state = self.write();
        if !followed {
            tracing::warn!("too many buyers to remember: sold-out orders go the long way");
            state.facts.clear();
            state.wanted.clear();
            state.closed_until = Some(Instant::now() + CLOSED_FOR);
            return Ok(());
        }
        for (id, seen, view) in seen {
            match view.filter(|view| view.sale.stock == 0) {
                Some(view) => {
                    let fact = Fact { sale: view.sale, read_at: view.read_at, seen };
                    state.facts.insert(id, fact);
                }
                None => {
                    state.facts.remove(&id);
                }
            }
        }
        Ok(())
    }

    /// Reads who has bought since the last time; `false` when they are too many to remember.
    async fn follow(&self, wanted: &[SaleId]) -> Result<bool, StoreError> {
        let (mut of, mut anew) = (self.read().buyers.whose(wanted), false);
        loop {
            let asked = Instant::now();
            let after = self.read().buyers.last_known(of);
            let others = of == Of::All;
            let bought = self.reads.orders_after(&after, others, ORDERS_AT_A_TIME);
            let bought = answered(bought).await?;
            let mut state = self.write();
            bought.iter().for_each(|one| state.buyers.follow(one));
            if state.buyers.count() > self.buyers_max {
                if anew {
                    return Ok(false);
                }
                tracing::info!("too many buyers to remember: those of the sales at hand only");
                (of, anew) = (Of::These(wanted), true);
                state.buyers.forget();
                state.facts.clear();
            } else if bought.len() < ORDERS_AT_A_TIME as usize {
                state.buyers.read_up_to_now(of, asked.elapsed());
                return Ok(true);
            }
        }
    }
}

/// Whoever watches. A watch that ends by a defect leaves nothing to believe, and the next who asks
/// begins another.
struct Watching<R: Reads>(Arc<Known<R>>);

impl<R: Reads> Drop for Watching<R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.write() = State::default();
        }
    }
}

/// A read that is given up when nothing comes.
async fn answered<V>(read: impl Future<Output = Result<V, StoreError>>) -> Result<V, StoreError> {
    let silent = |_| Err(StoreError::Lost("no answer to a read".to_owned()));
    timeout(READ_MAX, read).await.unwrap_or_else(silent)
}
