//! Deciding a group of orders of one sale in one transaction. A group of one is a single order.
//!
//! | statement | why here |
//! |---|---|
//! | 1 claim the keys, ascending | equal keys meet before they hold anything |
//! | 2 earlier orders of taken keys (if any) | a new statement sees what the claim waited for |
//! | 3 lock the sale | the one row that its orders have in common |
//! | 4 lock wallets, ascending; read clock and units bought | after the sale, a new snapshot |
//! | 5 write orders, debits, wallets, sale as sets | winners only, the sale's row once |
//! | 6 give back keys of refused neighbours (mixed groups only) | a refusal frees its key |
//!
//! So a lone order costs four statements between BEGIN and COMMIT, a group six, at any size.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use super::OrderAnswer;
use crate::domain::decision::{Buyer, debit_for, decide};
use crate::domain::id::{SaleId, UserId};
use crate::domain::key::{Fingerprint, KeyRef};
use crate::domain::order::PlaceOrder;
use crate::domain::sale::Sale;
use crate::logic::keyed::{self, Answer};
use crate::logic::transact::{Ending, Trouble, Work};
use crate::ports::signals;
use crate::ports::store::{Buyers, Claim, SaleLock, StoreError, Transaction, Winners};

/// Orders of one sale with distinct keys, in the order of arrival.
pub struct Group {
    sale_id: SaleId,
    members: Vec<Member>,
}

struct Member {
    order: PlaceOrder,
    key: KeyRef,
    fingerprint: Fingerprint,
}

impl Group {
    /// A group of one.
    pub fn of_one(order: PlaceOrder) -> Group {
        Group::new(order.sale_id, vec![order])
    }

    /// A group. All orders must name `sale_id` and have distinct keys.
    pub fn new(sale_id: SaleId, orders: Vec<PlaceOrder>) -> Group {
        assert!(orders.iter().all(|order| order.sale_id == sale_id), "one sale to a group");
        let members = orders
            .into_iter()
            .map(|order| Member { key: order.key_ref(), fingerprint: order.fingerprint(), order })
            .collect();
        Group { sale_id, members }
    }

    /// Claims the keys. The answer holds what is settled already, by position.
    async fn claim<T: Transaction>(
        &self,
        transaction: &mut T,
    ) -> Result<Vec<Option<OrderAnswer>>, Trouble> {
        let mut ascending: Vec<usize> = (0..self.members.len()).collect();
        ascending.sort_by(|a, b| self.members[*a].key.cmp(&self.members[*b].key));
        let claims: Vec<Claim> = ascending.iter().map(|at| self.members[*at].claim()).collect();
        let began = Instant::now();
        let claimed = transaction.claim_keys(&claims).await.map_err(keyed::key_busy)?;
        metrics::histogram!(signals::LOCK_WAIT, "lock" => "key").record(began.elapsed());

        let taken: Vec<usize> =
            ascending.iter().zip(&claimed).filter(|(_, ours)| !**ours).map(|(at, _)| *at).collect();
        let mut settled: Vec<Option<OrderAnswer>> = self.members.iter().map(|_| None).collect();
        if taken.is_empty() {
            return Ok(settled);
        }
        let keys: Vec<KeyRef> = taken.iter().map(|at| self.members[*at].key.clone()).collect();
        let mut earlier = transaction.earlier_orders(&keys).await.map_err(keyed::key_busy)?;
        for at in taken {
            let member = &self.members[at];
            let Some((fingerprint, order)) = earlier.remove(&member.key) else {
                return Err(StoreError::Retry { sqlstate: "key_vanished".to_owned() }.into());
            };
            settled[at] = Some(if order.id == member.order.order_id {
                // Our own, from a COMMIT that went through unseen.
                Answer::Made(order)
            } else if fingerprint == member.fingerprint {
                Answer::Replayed(order)
            } else {
                Answer::KeyReused { resource_id: order.id.uuid() }
            });
        }
        Ok(settled)
    }

    /// Locks the sale, then the wallets of those still undecided.
    async fn lock<T: Transaction>(
        &self,
        transaction: &mut T,
        settled: &[Option<OrderAnswer>],
    ) -> Result<(SaleLock, Buyers), StoreError> {
        let began = Instant::now();
        let lock = transaction.lock_sale(self.sale_id).await?;
        metrics::histogram!(signals::LOCK_WAIT, "lock" => "sale").record(began.elapsed());

        let undecided = self.members.iter().zip(settled).filter(|(_, answer)| answer.is_none());
        let mut users: Vec<UserId> = undecided.map(|(member, _)| member.order.user_id).collect();
        users.sort_unstable();
        users.dedup();
        let began = Instant::now();
        let buyers = transaction.lock_buyers(&lock, &users).await?;
        metrics::histogram!(signals::LOCK_WAIT, "lock" => "wallet").record(began.elapsed());
        Ok((lock, buyers))
    }

    /// Folds `decide` over the undecided, in the order of arrival, in memory.
    fn decide(
        &self,
        sale: Option<Sale>,
        buyers: Buyers,
        settled: &mut [Option<OrderAnswer>],
    ) -> Winners {
        let mut sale = sale;
        let mut by_user: HashMap<UserId, Buyer> = buyers.by_user;
        let mut touched = BTreeMap::new();
        let mut winners = Winners::default();
        for (member, answer) in self.members.iter().zip(settled) {
            if answer.is_some() {
                continue;
            }
            let wish = &member.order;
            let buyer = by_user.entry(wish.user_id).or_default();
            *answer = Some(match decide(sale.as_ref(), buyer, wish, buyers.now) {
                Err(refusal) => Answer::Refused(refusal),
                Ok(order) => {
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
    fn refused_keys(&self, settled: &[Option<OrderAnswer>]) -> Vec<KeyRef> {
        let members = self.members.iter().zip(settled);
        members
            .filter(|(_, answer)| matches!(answer, Some(Answer::Refused(_))))
            .map(|(member, _)| member.key.clone())
            .collect()
    }
}

impl Member {
    fn claim(&self) -> Claim {
        Claim {
            key: self.key.clone(),
            fingerprint: self.fingerprint,
            resource_id: self.order.order_id.uuid(),
        }
    }
}

impl<T: Transaction> Work<T> for Group {
    type Value = Vec<OrderAnswer>;
    const NAME: &'static str = "order";

    fn keyed(&self) -> bool {
        true
    }

    async fn run(&mut self, transaction: &mut T) -> Result<Ending<Vec<OrderAnswer>>, Trouble> {
        let mut settled = self.claim(transaction).await?;
        let mut wrote = false;
        if settled.iter().any(Option::is_none) {
            let (lock, buyers) = self.lock(transaction, &settled).await?;
            let winners = self.decide(lock.sale, buyers, &mut settled);
            if !winners.orders.is_empty() {
                transaction.record(&winners).await?;
                let refused = self.refused_keys(&settled);
                if !refused.is_empty() {
                    transaction.release_keys(&refused).await?;
                }
                wrote = true;
            }
        }
        let answers: Vec<OrderAnswer> =
            settled.into_iter().map(|answer| answer.expect("every order is settled")).collect();
        Ok(if wrote { Ending::Commit(answers) } else { Ending::Rollback(answers) })
    }
}

/// Counts what became of the keys of a finished group.
pub fn count_keys(answers: &[OrderAnswer]) {
    for answer in answers {
        keyed::count(match answer {
            Answer::Made(_) | Answer::Refused(_) => "claimed",
            Answer::Replayed(_) => "replayed",
            Answer::KeyReused { .. } => "reused",
        });
    }
}
