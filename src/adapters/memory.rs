//! The smallest thing that keeps the store's promises: one lock around everything.
//!
//! Its second life is to be compared with: engines and models run on it without a database, and
//! one suite holds both implementations of the port to the same behaviour. Nothing clever here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::domain::Instant;
use crate::domain::books::Books;
use crate::domain::decision::Buyer;
use crate::domain::id::{EntryId, Id, SaleId, UserId};
use crate::domain::key::{Fingerprint, KeyRef};
use crate::domain::ledger::{EntryKind, LedgerEntry};
use crate::domain::order::Order;
use crate::domain::sale::Sale;
use crate::domain::user::User;
use crate::domain::wallet::Wallet;
use crate::ports::store::{
    Buyers, Claim, CommitError, Earlier, Locked, Store, StoreError, Transaction, Waited, Winners,
};

/// Everything there is.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The facts that the books speak of.
    pub books: Books,
    /// Users by id.
    pub users: BTreeMap<UserId, User>,
    /// Committed keys.
    pub keys: BTreeMap<KeyRef, Earlier>,
    /// The clock, moved by hand.
    pub now: Instant,
}

/// A store in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<World>>);

impl MemoryStore {
    /// Looks at, or arranges, the world between transactions.
    pub async fn world(&self) -> OwnedMutexGuard<World> {
        Arc::clone(&self.0).lock_owned().await
    }
}

/// One transaction: it works on a copy, and commit puts the copy in place.
pub struct MemoryTransaction {
    committed: OwnedMutexGuard<World>,
    working: World,
}

impl Store for MemoryStore {
    type Transaction = MemoryTransaction;

    fn patience(&self) -> std::time::Duration {
        std::time::Duration::from_secs(60)
    }

    async fn begin(&self) -> Result<MemoryTransaction, StoreError> {
        let committed = self.world().await;
        let working = committed.clone();
        Ok(MemoryTransaction { committed, working })
    }
}

fn rows(holds: bool, what: &str) -> Result<(), StoreError> {
    holds.then_some(()).ok_or_else(|| StoreError::Invariant(what.to_owned()))
}

impl MemoryTransaction {
    fn write_entry(&mut self, entry: &LedgerEntry, wallet: &Wallet) -> Result<(), StoreError> {
        let stored = self.working.books.wallets.get_mut(&wallet.user_id);
        let stored = stored.ok_or_else(|| StoreError::Invariant("no such wallet".to_owned()))?;
        *stored = *wallet;
        self.working.books.entries.push(entry.clone());
        Ok(())
    }
}

impl Transaction for MemoryTransaction {
    async fn claim_keys(&mut self, claims: &[Claim]) -> Result<Vec<bool>, StoreError> {
        let keys = &mut self.working.keys;
        Ok(claims
            .iter()
            .map(|claim| {
                let free = !keys.contains_key(&claim.key);
                if free {
                    let Claim { fingerprint, resource_id, .. } = *claim;
                    keys.insert(claim.key.clone(), Earlier { fingerprint, resource_id });
                }
                free
            })
            .collect())
    }

    async fn earlier(&mut self, key: &KeyRef) -> Result<Option<Earlier>, StoreError> {
        Ok(self.working.keys.get(key).copied())
    }

    async fn earlier_orders(
        &mut self,
        keys: &[KeyRef],
    ) -> Result<HashMap<KeyRef, (Fingerprint, Order)>, StoreError> {
        let world = &self.working;
        let find = |key: &KeyRef| {
            let earlier = world.keys.get(key)?;
            let order = world.books.orders.get(&Id::new(earlier.resource_id))?;
            Some((key.clone(), (earlier.fingerprint, order.clone())))
        };
        Ok(keys.iter().filter_map(find).collect())
    }

    async fn release_keys(&mut self, keys: &[KeyRef]) -> Result<(), StoreError> {
        keys.iter().try_for_each(|key| {
            rows(self.working.keys.remove(key).is_some(), "released a key that was not claimed")
        })
    }

    async fn lock(&mut self, sale_id: SaleId, users: &[UserId]) -> Result<Locked, StoreError> {
        let books = &self.working.books;
        let bought = |user: &UserId| {
            let own = books.orders.values();
            own.filter(|order| order.user_id == *user && order.sale_id == sale_id)
                .map(|order| order.quantity.units())
                .sum()
        };
        let sale = books.sales.get(&sale_id).cloned();
        let limited = sale.as_ref().is_some_and(|sale| sale.per_user_limit.is_some());
        let buyer = |user: &UserId| Buyer {
            wallet: books.wallets.get(user).copied(),
            units_bought: if limited { bought(user) } else { 0 },
        };
        let by_user = users.iter().map(|user| (*user, buyer(user))).collect();
        let buyers = Buyers { now: self.working.now, by_user };
        Ok(Locked { sale, buyers, waited: Waited::default() })
    }

    async fn held_wallets(&mut self, _users: &[UserId]) -> Result<HashSet<UserId>, StoreError> {
        Ok(HashSet::new())
    }

    async fn look(
        &mut self,
        sale: SaleId,
        users: &[UserId],
    ) -> Result<(Option<Sale>, Buyers), StoreError> {
        self.lock(sale, users).await.map(|locked| (locked.sale, locked.buyers))
    }

    async fn record(&mut self, winners: &Winners) -> Result<(), StoreError> {
        if let Some(moment) = winners.too_late.filter(|moment| self.working.now >= *moment) {
            return Err(StoreError::TooLate(moment));
        }
        let books = &mut self.working.books;
        for order in &winners.orders {
            let new = books.orders.insert(order.id, order.clone()).is_none();
            rows(new, "the order's id is taken")?;
        }
        books.entries.extend(winners.entries.iter().cloned());
        books.wallets.extend(winners.wallets.iter().map(|wallet| (wallet.user_id, *wallet)));
        books.sales.extend(winners.sale.iter().map(|sale| (sale.id, sale.clone())));
        Ok(())
    }

    async fn lock_wallet(&mut self, user: UserId) -> Result<Option<(Wallet, Instant)>, StoreError> {
        let wallet = self.working.books.wallets.get(&user).copied();
        Ok(wallet.map(|wallet| (wallet, self.working.now)))
    }

    async fn record_deposit(
        &mut self,
        entry: &LedgerEntry,
        wallet: &Wallet,
    ) -> Result<(), StoreError> {
        self.write_entry(entry, wallet)
    }

    async fn deposit(&mut self, id: EntryId) -> Result<Option<LedgerEntry>, StoreError> {
        let mut entries = self.working.books.entries.iter();
        Ok(entries.find(|entry| entry.id == id && entry.kind == EntryKind::Deposit).cloned())
    }

    async fn now(&mut self) -> Result<Instant, StoreError> {
        Ok(self.working.now)
    }

    async fn insert_user(&mut self, user: &User) -> Result<bool, StoreError> {
        let world = &mut self.working;
        if world.users.contains_key(&user.id) {
            return Ok(false);
        }
        let external_id = user.external_id.as_ref();
        let taken =
            |other: &User| external_id.is_some() && other.external_id.as_ref() == external_id;
        if world.users.values().any(taken) {
            return Ok(false);
        }
        world.users.insert(user.id, user.clone());
        let wallet =
            Wallet { user_id: user.id, balance: crate::domain::money::Money::ZERO, entry_count: 0 };
        world.books.wallets.insert(user.id, wallet);
        Ok(true)
    }

    async fn user(&mut self, id: UserId) -> Result<Option<User>, StoreError> {
        Ok(self.working.users.get(&id).cloned())
    }

    async fn insert_sale(&mut self, sale: &Sale) -> Result<bool, StoreError> {
        let sales = &mut self.working.books.sales;
        let free = !sales.contains_key(&sale.id);
        if free {
            sales.insert(sale.id, sale.clone());
        }
        Ok(free)
    }

    async fn sale(&mut self, id: SaleId) -> Result<Option<Sale>, StoreError> {
        Ok(self.working.books.sales.get(&id).cloned())
    }

    async fn commit(mut self) -> Result<(), CommitError> {
        *self.committed = self.working;
        Ok(())
    }

    async fn rollback(self) {}
}
