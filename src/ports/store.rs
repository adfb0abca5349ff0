//! The books' door: one transaction, and what may be done inside it.
//!
//! Two lives: PostgreSQL (`adapters::postgres::store`) and a small in-memory one
//! (`adapters::memory`), held together by one suite (`tests/it/store_contract.rs`).
//!
//! Every method takes sets. A group of one costs what a single order would cost, and an engine that
//! decides many orders at once needs no second set of statements.
//!
//! # Lock order of the whole house
//! Keys (ascending), then the sale, then wallets (ascending by user). [`Transaction::lock`] takes
//! the last two together, so an order cannot hold a wallet without having the sale.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::time::Duration;

pub use super::facts::{Buyers, Claim, Earlier, Locked, NotReached, Reached, Waited, Winners};
use crate::domain::Instant;
use crate::domain::id::{EntryId, SaleId, UserId};
use crate::domain::key::{Fingerprint, KeyRef};
use crate::domain::ledger::LedgerEntry;
use crate::domain::order::Order;
use crate::domain::sale::Sale;
use crate::domain::user::User;
use crate::domain::wallet::Wallet;

/// Why a store could not do what it was asked. Never a refusal: those are values of the domain.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A wait for a lock or a statement ran into its limit (55P03, 57014).
    #[error("a lock was not free in time ({sqlstate})")]
    LockTimeout {
        /// The SQLSTATE.
        sqlstate: String,
    },
    /// The same, and it was a wallet's.
    #[error("a wallet was not free in time")]
    WalletHeld,
    /// The database chose this transaction to give way (40001, 40P01), what was read without a lock
    /// no longer stands (`stale`, `key_vanished`), or the wait for a lock of the write was too long
    /// for a lone order (`too_late`): the whole transaction may be run again.
    #[error("the transaction must be run again ({sqlstate})")]
    Retry {
        /// The SQLSTATE, or one of these words.
        sqlstate: String,
    },
    /// The write came behind this moment, at which one of its orders may not be made any more: what
    /// was decided must be decided again.
    #[error("the write came behind {0}")]
    TooLate(Instant),
    /// No session could be had: nothing was executed.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The session was lost before COMMIT was sent: nothing was executed.
    #[error("the session was lost: {0}")]
    Lost(String),
    /// More callers want a connection than may wait for one: nothing was executed.
    #[error("no connection was free in time")]
    Busy,
    /// A value is taken that must be unique (23505), by constraint name.
    #[error("unique constraint {constraint} is violated")]
    Duplicate {
        /// The constraint's name.
        constraint: String,
    },
    /// What was read has changed since: a write found its rows in another version. An alarm where
    /// the rows were locked, the ordinary way to lose where they were not.
    #[error("{what}: meant to touch {expected} rows, touched {found}")]
    Stale {
        /// Which rows.
        what: &'static str,
        /// How many were meant.
        expected: usize,
        /// How many still stood as they were read.
        found: i64,
    },
    /// The schema refused a write that the program thought right, or a row cannot be understood:
    /// an alarm.
    #[error("invariant: {0}")]
    Invariant(String),
    /// Anything else.
    #[error("store: {0}")]
    Other(String),
}

/// How a COMMIT can fail.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The server said no: nothing was executed.
    #[error(transparent)]
    Refused(StoreError),
    /// The session was lost while COMMIT was under way: it may or may not have been executed.
    #[error("the outcome of COMMIT is unknown: {0}")]
    Unknown(String),
}

/// Where transactions begin.
pub trait Store: Clone + Send + Sync + 'static {
    /// One open transaction.
    type Transaction: Transaction;

    /// How long an answer to one statement can take at most before its session counts as silent:
    /// longer than every limit that the server keeps itself.
    fn patience(&self) -> Duration;

    /// Opens a transaction at READ COMMITTED.
    fn begin(&self) -> impl Future<Output = Result<Self::Transaction, StoreError>> + Send;
}

/// One open transaction. Dropping it without commit rolls back, and its session is not used
/// again: it may be in the middle of a statement.
pub trait Transaction: Send + 'static {
    /// Claims keys, which must be distinct and ascending. The answer says, position by position,
    /// which are ours now; the others are committed already. Waits for a claim that another
    /// transaction holds until that one is decided.
    fn claim_keys(
        &mut self,
        claims: &[Claim],
    ) -> impl Future<Output = Result<Vec<bool>, StoreError>> + Send;

    /// [`Transaction::claim_keys`], and where all of them are ours, [`Transaction::lock`]. A store
    /// that has a way to go goes it once.
    fn claim_and_lock(
        &mut self,
        claims: &[Claim],
        sale: SaleId,
        users: &[UserId],
    ) -> impl Future<Output = Result<Reached, NotReached>> + Send {
        async move {
            let ours = self.claim_keys(claims).await.map_err(NotReached::Keys)?;
            if ours.contains(&false) {
                return Ok(Reached::Keys(ours));
            }
            self.lock(sale, users).await.map(Reached::Locks).map_err(NotReached::Locks)
        }
    }

    /// What one committed key stands for. Must be a later statement than the claim that found it
    /// taken: a wait does not refresh the snapshot of the statement that waited.
    fn earlier(
        &mut self,
        key: &KeyRef,
    ) -> impl Future<Output = Result<Option<Earlier>, StoreError>> + Send;

    /// The same for keys of orders, as a set, with their orders.
    fn earlier_orders(
        &mut self,
        keys: &[KeyRef],
    ) -> impl Future<Output = Result<HashMap<KeyRef, (Fingerprint, Order)>, StoreError>> + Send;

    /// Gives back claims of orders that were refused while their neighbours commit.
    fn release_keys(
        &mut self,
        keys: &[KeyRef],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Locks the sale's row, then the wallets of `users` (distinct, ascending), and reads behind
    /// each lock what it protects; behind the last one the clock. Orders have no other way to take
    /// these locks, so nobody can take them the other way round.
    fn lock(
        &mut self,
        sale: SaleId,
        users: &[UserId],
    ) -> impl Future<Output = Result<Locked, StoreError>> + Send;

    /// Those of `users` whose wallets others hold at this moment. Waits for nobody; for a
    /// transaction that does nothing else and is rolled back.
    fn held_wallets(
        &mut self,
        users: &[UserId],
    ) -> impl Future<Output = Result<HashSet<UserId>, StoreError>> + Send;

    /// Reads the sale, the clock, and what is known of `users` (distinct, ascending), without a
    /// lock, as all of it stood at one moment; [`StoreError::Retry`] when the sale moved meanwhile.
    fn look(
        &mut self,
        sale: SaleId,
        users: &[UserId],
    ) -> impl Future<Output = Result<(Option<Sale>, Buyers), StoreError>> + Send;

    /// Writes the winners, as sets, and checks that every row it meant to touch was touched
    /// and stood as it was read ([`StoreError::Stale`]). Whoever waited for a lock in here until it
    /// was too late for one of the orders ([`Winners::too_late`]) must decide again
    /// ([`StoreError::TooLate`]).
    fn record(&mut self, winners: &Winners) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Locks one wallet for a deposit and reads the clock.
    fn lock_wallet(
        &mut self,
        user: UserId,
    ) -> impl Future<Output = Result<Option<(Wallet, Instant)>, StoreError>> + Send;

    /// Writes a deposit and the wallet behind it.
    fn record_deposit(
        &mut self,
        entry: &LedgerEntry,
        wallet: &Wallet,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The committed deposit with this id.
    fn deposit(
        &mut self,
        id: EntryId,
    ) -> impl Future<Output = Result<Option<LedgerEntry>, StoreError>> + Send;

    /// The database's clock.
    fn now(&mut self) -> impl Future<Output = Result<Instant, StoreError>> + Send;

    /// Writes a user with an empty wallet. `false` when the id or the external id is taken; a later
    /// statement sees which.
    fn insert_user(&mut self, user: &User)
    -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The committed user with this id.
    fn user(&mut self, id: UserId)
    -> impl Future<Output = Result<Option<User>, StoreError>> + Send;

    /// Writes a sale; `false`, and nothing written, when its id is taken.
    fn insert_sale(&mut self, sale: &Sale)
    -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The committed sale with this id, not locked.
    fn sale(&mut self, id: SaleId)
    -> impl Future<Output = Result<Option<Sale>, StoreError>> + Send;

    /// Makes everything durable.
    fn commit(self) -> impl Future<Output = Result<(), CommitError>> + Send;

    /// Undoes everything.
    fn rollback(self) -> impl Future<Output = ()> + Send;
}
