//! Deciding a group of orders of one sale in one transaction. A group of one is a single order.
//!
//! | statement | why here |
//! |---|---|
//! | 1 claim the keys, ascending | equal keys meet before they can hold anything else |
//! | 2 earlier orders of taken keys (only if any) | a new statement sees what the claim waited for |
//! | 3 lock the sale | the one row that orders of a sale have in common |
//! | 4 lock the wallets, ascending; read clock and units bought | after the sale, in a new snapshot |
//! | 5 write orders, debits, wallets and sale as sets | winners only, the sale's row once |
//! | 6 give back keys of refused neighbours (only in a mixed group) | a refusal leaves its key free |
//!
//! So a lone order costs four statements between BEGIN and COMMIT, a group six, at any size.
//!
//! A key that is more than once in a group belongs to its first arrival; the others are its twins
//! and are answered from what became of it, without a claim of their own.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use super::OrderAnswer;
use crate::domain::decision::{Buyer, debit_for, decide};
use crate::domain::id::{SaleId, UserId};
use crate::domain::key::{Fingerprint, KeyRef};
use crate::domain::order::{Order, PlaceOrder};
use crate::domain::sale::Sale;
use crate::logic::keyed::{self, Answer};
use crate::logic::transact::{Ending, Trouble, Work};
use crate::ports::signals;
use crate::ports::store::{Buyers, Claim, SaleLock, StoreError, Transaction, Winners};

/// Orders of one sale in the order of arrival.
pub struct Group {
    sale_id: SaleId,
    members: Vec<Member>,
}

struct Member {
    order: PlaceOrder,
    key: KeyRef,
    fingerprint: Fingerprint,
    /// The first arrival with the same key, if this is not the first.
    twin_of: Option<usize>,
}

/// What became of an order in its group; `None` when only a later group can tell: its key was
/// claimed for a twin with another body, and that twin was refused.
pub type Decided = Option<OrderAnswer>;

impl Group {
    /// A group of one.
    pub fn of_one(order: PlaceOrder) -> Group {
        Group::new(order.sale_id, vec![order])
    }

    /// A group. All orders must name `sale_id`.
    pub fn new(sale_id: SaleId, orders: Vec<PlaceOrder>) -> Group {
        assert!(orders.iter().all(|order| order.sale_id == sale_id), "one sale to a group");
        let mut first_with: HashMap<KeyRef, usize> = HashMap::with_capacity(orders.len());
        let members = orders.into_iter().enumerate().map(|(at, order)| {
            let key = order.key_ref();
            let first = *first_with.entry(key.clone()).or_insert(at);
            let twin_of = (first != at).then_some(first);
            Member { fingerprint: order.fingerprint(), key, order, twin_of }
        });
        Group { sale_id, members: members.collect() }
    }

    /// Claims the keys. The answer holds what is settled already, by position.
    async fn claim<T: Transaction>(&self, transaction: &mut T) -> Result<Vec<Decided>, Trouble> {
        let owners = (0..self.members.len()).filter(|at| self.members[*at].twin_of.is_none());
        let mut ascending: Vec<usize> = owners.collect();
        ascending.sort_by(|a, b| self.members[*a].key.cmp(&self.members[*b].key));
        let claims: Vec<Claim> = ascending.iter().map(|at| self.members[*at].claim()).collect();
        let began = Instant::now();
        let claimed = transaction.claim_keys(&claims).await;
        metrics::histogram!(signals::LOCK_WAIT, "lock" => "key").record(began.elapsed());
        let claimed = claimed.map_err(keyed::unsettled)?;

        let mut settled: Vec<Decided> = self.members.iter().map(|_| None).collect();
        let taken = ascending.iter().zip(&claimed).filter(|(_, ours)| !**ours);
        let keys: Vec<KeyRef> = taken.map(|(at, _)| self.members[*at].key.clone()).collect();
        if keys.is_empty() {
            return Ok(settled);
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
        Ok(settled)
    }

    /// Locks the sale, then the wallets of those still undecided.
    async fn lock<T: Transaction>(
        &self,
        transaction: &mut T,
        settled: &[Decided],
    ) -> Result<(SaleLock, Buyers), StoreError> {
        let began = Instant::now();
        let lock = transaction.lock_sale(self.sale_id).await;
        metrics::histogram!(signals::LOCK_WAIT, "lock" => "sale").record(began.elapsed());
        let lock = lock?;

        let undecided = self.members.iter().zip(settled).filter(|(_, answer)| answer.is_none());
        let mut users: Vec<UserId> = undecided.map(|(member, _)| member.order.user_id).collect();
        users.sort_unstable();
        users.dedup();
        let began = Instant::now();
        let buyers = transaction.lock_buyers(&lock, &users).await;
        metrics::histogram!(signals::LOCK_WAIT, "lock" => "wallet").record(began.elapsed());
        Ok((lock, buyers?))
    }

    /// Folds `decide` over the undecided, in the order of arrival, in memory.
    fn decide(&self, sale: Option<Sale>, buyers: Buyers, settled: &mut [Decided]) -> Winners {
        let mut sale = sale;
        let mut by_user: HashMap<UserId, Buyer> = buyers.by_user;
        let mut touched = BTreeMap::new();
        let mut winners = Winners::default();
        for at in 0..self.members.len() {
            let member = &self.members[at];
            if settled[at].is_some() {
                continue;
            }
            if let Some(first) = member.twin_of
                && let Some(answer) = member.beside(&self.members[first], &settled[first])
            {
                settled[at] = answer;
                continue;
            }
            let wish = &member.order;
            let buyer = by_user.entry(wish.user_id).or_default();
            let decided = decide(sale.as_ref(), buyer, wish, buyers.now);
            settled[at] = Some(match decided {
                Err(refusal) => Answer::Refused(refusal),
                Ok(order) => {
                    // Stock, balance and allowance only shrink within a group, so what was
                    // refused once cannot be granted to its twin.
                    assert!(member.twin_of.is_none(), "a twin is never granted what was refused");
                    let wallet = buyer.wallet.as_mut().expect("a yes implies a wallet");
                    let entry = debit_for(&order, wallet, wish);
                    wallet.apply(&entry);
                    touched.insert(wallet.user_id, *wallet);
                    buyer.units_bought += order.quantity.units();
                    sale.as_mut().expect("a yes implies a sale").apply(&order);
                    winners.entries.push(entry);
                    winners.orders.push(order.clone());
                    Answer::Made(order)
                }
            });
        }
        winners.wallets = touched.into_values().collect();
        winners.sale = sale.filter(|_| !winners.orders.is_empty());
        winners
    }

    /// The keys we claimed for orders that were then refused.
    fn refused_keys(&self, settled: &[Decided]) -> Vec<KeyRef> {
        let members = self.members.iter().zip(settled);
        members
            .filter(|(member, answer)| {
                member.twin_of.is_none() && matches!(answer, Some(Answer::Refused(_)))
            })
            .map(|(member, _)| member.key.clone())
            .collect()
    }
}

impl Member {
    /// The answer when an order stands under this key already: that order again to the same
    /// request, a refusal to any other. Our own order is there when an earlier run of this
    /// transaction committed unseen.
    fn again(&self, made_by: Fingerprint, order: &Order) -> OrderAnswer {
        if order.id == self.order.order_id {
            Answer::Made(order.clone())
        } else if made_by == self.fingerprint {
            Answer::Replayed(order.clone())
        } else {
            Answer::KeyReused { resource_id: order.id.uuid() }
        }
    }

    /// The answer beside the first arrival with the same key; `None` when the first was refused
    /// and this is the same request, which is then decided at its own place.
    fn beside(&self, first: &Member, answer: &Decided) -> Option<Decided> {
        match answer {
            Some(Answer::Made(order)) => Some(Some(self.again(first.fingerprint, order))),
            _ if self.fingerprint == first.fingerprint => None,
            _ => Some(None),
        }
    }

    fn claim(&self) -> Claim {
        Claim {
            key: self.key.clone(),
            fingerprint: self.fingerprint,
            resource_id: self.order.order_id.uuid(),
        }
    }
}

impl<T: Transaction> Work<T> for Group {
    type Value = Vec<Decided>;
    const NAME: &'static str = "order";

    fn keyed(&self) -> bool {
        true
    }

    async fn run(&mut self, transaction: &mut T) -> Result<Ending<Vec<Decided>>, Trouble> {
        let mut settled = self.claim(transaction).await?;
        if settled.iter().all(Option::is_some) {
            return Ok(Ending::Rollback(settled));
        }
        let (lock, buyers) = self.lock(transaction, &settled).await?;
        let winners = self.decide(lock.sale, buyers, &mut settled);
        if winners.orders.is_empty() {
            return Ok(Ending::Rollback(settled));
        }
        transaction.record(&winners).await?;
        let refused = self.refused_keys(&settled);
        if !refused.is_empty() {
            transaction.release_keys(&refused).await?;
        }
        Ok(Ending::Commit(settled))
    }
}

/// Counts what became of the keys of a finished group.
pub fn count_keys(answers: &[Decided]) {
    for answer in answers.iter().flatten() {
        keyed::count(match answer {
            Answer::Made(_) | Answer::Refused(_) => "claimed",
            Answer::Replayed(_) => "replayed",
            Answer::KeyReused { .. } => "reused",
        });
    }
}
