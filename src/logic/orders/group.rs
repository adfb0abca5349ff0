//! Deciding a group of orders of one sale in one transaction. A group of one is a single order.
//!
//! | statement | why here |
//! |---|---|
//! | 1 claim the keys, ascending | equal keys meet before they hold anything |
//! | 2 earlier orders of taken keys (if any) | a new statement sees what the claim waited for |
//! | 3 lock the sale, then wallets; read clock and units bought | nobody else decides now |
//! | 4 write sale, wallets, orders, debits as sets | winners only, the sale's row once |
//! | 5 give back keys of refused neighbours (mixed groups only) | a refusal frees its key |
//! | 6 claim some of them again (only for the twins below) | the twin's order stands under it |
//!
//! Where no key is taken, 1 and 3 are one statement. So a lone order costs two between BEGIN and
//! COMMIT, a group six at most, at any size. [`Locking::Never`] reads in 3 without locks, in two
//! statements, and 4 finds out whether what was read still stands.
//!
//! A key that is more than once in a group is claimed for its first arrival. The others are its
//! twins: as long as no order stands under the key, each is decided at its own place; from then on
//! each is answered as any later request with this key.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::OrderAnswer;
pub use super::facts::Locking;
use super::facts::{self, Entered, Facts, Wanted};
use super::held::{Held, Kept, Until};
use super::member::{self, Member};
use crate::domain::decision::{Buyer, debit_for, decide};
use crate::domain::id::{SaleId, UserId};
use crate::domain::key::KeyRef;
use crate::domain::order::PlaceOrder;
use crate::logic::keyed::{self, Answer};
use crate::logic::transact::{Ending, Trouble, Work};
use crate::ports::store::{Claim, StoreError, Transaction, Winners};

/// Orders of one sale in the order of arrival.
pub struct Group {
    sale_id: SaleId,
    members: Vec<Member>,
    locking: Locking,
    kept: Kept,
    boarding: Option<Boarding>,
    begun_after: Option<Duration>,
    known: Vec<Decided>,
}

/// Given how many are aboard, says who else comes along.
pub type Boarding = Box<dyn FnOnce(usize) -> Vec<PlaceOrder> + Send + Sync>;

/// What became of an order so far.
type Decided = Option<OrderAnswer>;

impl Group {
    /// A group of one.
    pub fn of_one(order: PlaceOrder, locking: Locking) -> Group {
        Group { locking, ..Group::new(order.sale_id, vec![order]) }
    }

    /// A group that locks first. All orders must name `sale_id`.
    pub fn new(sale_id: SaleId, orders: Vec<PlaceOrder>) -> Group {
        let (kept, locking) = (Kept::default(), Locking::First);
        let (members, known, boarding, begun_after) = (vec![], vec![], None, None);
        let mut group = Group { sale_id, members, locking, kept, boarding, begun_after, known };
        group.board(orders);
        group
    }

    /// Takes more orders along, behind those it has.
    fn board(&mut self, orders: Vec<PlaceOrder>) {
        assert!(orders.iter().all(|order| order.sale_id == self.sale_id), "one sale to a group");
        member::add(&mut self.members, orders);
    }

    /// Whose orders they are.
    pub fn sale_id(&self) -> SaleId {
        self.sale_id
    }

    /// Asks `boarding` for more orders when its first BEGIN is answered.
    pub fn boarding(self, boarding: Option<Boarding>) -> Group {
        Group { boarding, ..self }
    }

    /// Keeps `held` for so long.
    pub fn holding(self, held: Option<Held>, until: Until) -> Group {
        Group { kept: Kept::until(held, until), ..self }
    }

    /// What it still holds, because it never came so far; and by position the answers that stand
    /// whatever became of the group: to keys under which an order was committed before.
    pub fn into_rest(self) -> (Option<Held>, Vec<Option<OrderAnswer>>) {
        (self.kept.into_inner(), self.known)
    }

    /// How long its last BEGIN took, if one was answered.
    pub fn begun_after(&self) -> Option<Duration> {
        self.begun_after
    }

    /// Claims the keys, and where all are ours, takes the locks with them. The answer holds what is
    /// settled already, by position, and the facts, if they came along.
    async fn claim<T: Transaction>(
        &self,
        transaction: &mut T,
    ) -> Result<(Vec<Decided>, Option<Facts>), Trouble> {
        let owners = (0..self.members.len()).filter(|at| self.members[*at].twin_of.is_none());
        let mut ascending: Vec<usize> = owners.collect();
        ascending.sort_by(|a, b| self.members[*a].key.cmp(&self.members[*b].key));
        let claims: Vec<Claim> = ascending.iter().map(|at| self.members[*at].claim()).collect();
        let mut settled: Vec<Decided> = self.members.iter().map(|_| None).collect();
        let wanted = Wanted { sale: self.sale_id, users: self.users(&settled) };
        let claimed = match facts::enter(transaction, self.locking, &claims, &wanted).await? {
            Entered::Locked(facts) => return Ok((settled, Some(facts))),
            Entered::Claimed(ours) => ours,
        };
        let taken = ascending.iter().zip(&claimed).filter(|(_, ours)| !**ours);
        let keys: Vec<KeyRef> = taken.map(|(at, _)| self.members[*at].key.clone()).collect();
        if keys.is_empty() {
            return Ok((settled, None));
        }
        let earlier = transaction.earlier_orders(&keys).await.map_err(keyed::unsettled)?;
        if earlier.len() != keys.len() {
            // Nothing in the house deletes a committed key or its order.
            let found = format!("{} of {} committed keys have an order", earlier.len(), keys.len());
            return Err(StoreError::Invariant(found).into());
        }
        for (member, answer) in self.members.iter().zip(&mut settled) {
            *answer =
                earlier.get(&member.key).map(|(made_by, order)| member.again(*made_by, order));
        }
        Ok((settled, None))
    }

    /// The buyers of those still undecided, ascending.
    fn users(&self, settled: &[Decided]) -> Vec<UserId> {
        let undecided = self.members.iter().zip(settled).filter(|(_, answer)| answer.is_none());
        let mut users: Vec<UserId> = undecided.map(|(member, _)| member.order.user_id).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// Folds `decide` over the undecided, in the order of arrival, in memory.
    fn decide(&self, facts: Facts, settled: &mut [Decided]) -> Winners {
        let (mut sale, now) = (facts.sale, facts.buyers.now);
        let mut by_user: HashMap<UserId, Buyer> = facts.buyers.by_user;
        let mut touched = BTreeMap::new();
        let mut made = vec![None::<usize>; self.members.len()]; // who won, by a key's first
        let mut winners = Winners::default();
        for (at, member) in self.members.iter().enumerate() {
            if settled[at].is_some() {
                continue;
            }
            let first = member.twin_of.unwrap_or(at);
            if let Some(maker) = made[first]
                && let Some(Answer::Made(order)) = &settled[maker]
            {
                settled[at] = Some(member.again(self.members[maker].fingerprint, order));
                continue;
            }
            let wish = &member.order;
            let buyer = by_user.entry(wish.user_id).or_default();
            settled[at] = Some(match decide(sale.as_ref(), buyer, wish, now) {
                Err(refusal) => Answer::Refused(refusal),
                Ok(order) => {
                    let wallet = buyer.wallet.as_mut().expect("a yes implies a wallet");
                    let entry = debit_for(&order, wallet, wish);
                    wallet.apply(&entry);
                    touched.insert(wallet.user_id, *wallet);
                    buyer.units_bought += order.quantity.units();
                    sale.as_mut().expect("a yes implies a sale").apply(&order);
                    winners.entries.push(entry);
                    let ends_at = sale.as_ref().and_then(|sale| sale.ends_at);
                    winners.note_too_late(wish.valid_until, ends_at);
                    winners.orders.push(order.clone());
                    made[first] = Some(at);
                    Answer::Made(order)
                }
            });
        }
        winners.wallets = touched.into_values().collect();
        winners.sale = sale.filter(|_| !winners.orders.is_empty());
        winners
    }

    /// Writes the winners, and leaves each claimed key with its order or free.
    async fn write<T: Transaction>(
        &self,
        transaction: &mut T,
        winners: &Winners,
        settled: &[Decided],
    ) -> Result<(), StoreError> {
        match transaction.record(winners).await {
            Err(StoreError::Stale { .. } | StoreError::Duplicate { .. })
                if self.locking == Locking::Never =>
            {
                return Err(StoreError::Retry { sqlstate: "stale".to_owned() });
            }
            // Alone it is simply decided again; in company, apart from who may be late again.
            Err(StoreError::TooLate(_)) if self.members.len() == 1 => {
                return Err(StoreError::Retry { sqlstate: "too_late".to_owned() });
            }
            recorded => recorded?,
        }
        let members = || self.members.iter().zip(settled);
        let refused = members().filter(|(member, answer)| {
            member.twin_of.is_none() && matches!(answer, Some(Answer::Refused(_)))
        });
        let refused: Vec<KeyRef> = refused.map(|(member, _)| member.key.clone()).collect();
        if refused.is_empty() {
            return Ok(());
        }
        transaction.release_keys(&refused).await?;
        // Whose own order is found again behind a COMMIT without an answer has its key.
        let is_refused = |at: usize| matches!(settled[at], Some(Answer::Refused(_)));
        let twins = members().filter(|(member, answer)| {
            member.twin_of.is_some_and(is_refused) && matches!(answer, Some(Answer::Made(_)))
        });
        let mut again: Vec<Claim> = twins.map(|(member, _)| member.claim()).collect();
        if again.is_empty() {
            return Ok(());
        }
        again.sort_by(|a, b| a.key.cmp(&b.key));
        let ours = transaction.claim_keys(&again).await?;
        if ours.contains(&false) {
            let found = "a key that this transaction holds was claimed by another";
            return Err(StoreError::Invariant(found.to_owned()));
        }
        Ok(())
    }
}

impl<T: Transaction> Work<T> for Group {
    type Value = Vec<OrderAnswer>;
    const NAME: &'static str = "order";

    fn begun(&mut self, after: Duration) {
        let first = self.begun_after.replace(after).is_none();
        if let Some(boarding) = self.boarding.take() {
            self.board(boarding(self.members.len()));
        }
        if first {
            // Whoever opened a span for this group left room for its size.
            tracing::Span::current().record("size", self.members.len());
        }
    }

    async fn run(&mut self, transaction: &mut T) -> Result<Ending<Vec<OrderAnswer>>, Trouble> {
        let (mut settled, facts) = self.claim(transaction).await?;
        if settled.iter().any(Option::is_some) {
            self.known.clone_from(&settled);
        }
        let mut winners = Winners::default();
        if settled.contains(&None) {
            let facts = match facts {
                Some(facts) => facts,
                None => {
                    let wanted = Wanted { sale: self.sale_id, users: self.users(&settled) };
                    facts::read(transaction, self.locking, &wanted).await?
                }
            };
            winners = self.decide(facts, &mut settled);
        }
        if !winners.orders.is_empty() {
            self.kept.reached(Until::Decided);
            self.write(transaction, &winners, &settled).await?;
            self.kept.reached(Until::Written);
        }
        let answers: Vec<OrderAnswer> = settled.into_iter().flatten().collect();
        assert_eq!(answers.len(), self.members.len(), "every order is answered");
        if winners.orders.is_empty() {
            return Ok(Ending::Rollback(answers));
        }
        Ok(Ending::Commit(answers))
    }
}
