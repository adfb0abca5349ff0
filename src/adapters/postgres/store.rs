//! The store on PostgreSQL: a transaction at READ COMMITTED, said explicitly so that a database
//! with another default behaves the same.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::connect::{BEGIN, SessionLimits};
use super::error::{commit_error, store_error};
use super::session::Session;
use super::sessions::Sessions;
use super::{key_repo, lock_repo, look_repo, order_repo, sale_repo, user_repo, wallet_repo};
use crate::domain::Instant as Moment;
use crate::domain::id::{EntryId, SaleId, UserId};
use crate::domain::key::{Fingerprint, KeyRef};
use crate::domain::ledger::LedgerEntry;
use crate::domain::order::Order;
use crate::domain::sale::Sale;
use crate::domain::user::User;
use crate::domain::wallet::Wallet;
use crate::ports::signals;
use crate::ports::store::{
    Buyers, Claim, CommitError, Earlier, Locked, NotReached, Reached, Store, StoreError,
    Transaction, Winners,
};

/// Waiting longer than this for a connection is worth a line in the log.
const WAIT_WORTH_A_WARNING: Duration = Duration::from_millis(250);

/// How long a session has to answer BEGIN, which waits for nothing, before another one is taken.
const BEGIN_WITHIN: Duration = Duration::from_secs(2);

/// A bounded number of callers at the pool: connections are never the queue. Orders have admission
/// for that; everything else shares one gate.
#[derive(Debug, Clone)]
pub struct Gate {
    slots: Arc<Semaphore>,
    wait_max: Duration,
}

impl Gate {
    /// Lets `slots` callers in at a time; the others wait at most `wait_max`.
    pub fn new(slots: usize, wait_max: Duration) -> Gate {
        Gate { slots: Arc::new(Semaphore::new(slots)), wait_max }
    }

    /// Waits for a slot.
    pub(super) async fn enter(&self) -> Result<tokio::sync::OwnedSemaphorePermit, StoreError> {
        match tokio::time::timeout(self.wait_max, Arc::clone(&self.slots).acquire_owned()).await {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(StoreError::Busy),
        }
    }
}

/// The store.
#[derive(Debug, Clone)]
pub struct PgStore {
    sessions: Sessions,
    gate: Option<Gate>,
    patience: Duration,
}

impl PgStore {
    /// For callers that admission has counted already.
    pub fn admitted(sessions: impl Into<Sessions>) -> PgStore {
        PgStore {
            sessions: sessions.into(),
            gate: None,
            patience: SessionLimits::default().patience(),
        }
    }

    /// For everyone else.
    pub fn gated(sessions: impl Into<Sessions>, gate: Gate) -> PgStore {
        PgStore { gate: Some(gate), ..PgStore::admitted(sessions) }
    }

    /// With the patience that goes with the sessions' limits.
    pub fn under(self, limits: SessionLimits) -> PgStore {
        PgStore { patience: limits.patience(), ..self }
    }
}

/// One open transaction. Unless it is ended by [`Transaction::commit`] or
/// [`Transaction::rollback`], its session is thrown away with it.
pub struct PgTransaction {
    session: Session,
    ear: Ear,
}

/// Listens for answers. The server limits each statement; a session from which nothing comes behind
/// that limit has gone silent, and nothing is said to it again.
struct Ear {
    patience: Duration,
    silence: bool,
}

impl Ear {
    async fn hear<V, E: From<StoreError>>(
        &mut self,
        answer: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        timeout(self.patience, answer).await.unwrap_or_else(|_elapsed| {
            self.silence = true;
            Err(StoreError::Lost("no answer to a statement".to_owned()).into())
        })
    }
}

impl PgTransaction {
    /// Sends a statement that ends the transaction; only then may the session go back.
    async fn end(mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statement).execute(self.session.connection()).await?;
        self.session.done();
        Ok(())
    }
}

impl Store for PgStore {
    type Transaction = PgTransaction;

    fn patience(&self) -> Duration {
        self.patience
    }

    /// A session that died in the pool, or fell silent there, is found out by BEGIN itself and
    /// thrown away; at most the whole pool can have died. One that cannot be opened is tried once
    /// more. Whatever else BEGIN says, nothing was executed.
    async fn begin(&self) -> Result<PgTransaction, StoreError> {
        let slot = match &self.gate {
            Some(gate) => Some(gate.enter().await?),
            None => None,
        };
        let began = Instant::now();
        let mut sessions_left = self.sessions.max() + 1;
        let mut openings_left = 1;
        loop {
            let mut session = match Session::take(&self.sessions).await {
                Err(StoreError::Lost(_)) if openings_left > 0 => {
                    openings_left -= 1;
                    continue;
                }
                acquired => acquired.map_err(away)?,
            };
            let begun = timeout(BEGIN_WITHIN, sqlx::raw_sql(BEGIN).execute(session.connection()));
            let silent = |_| Err(StoreError::Lost("no answer to BEGIN".to_owned()));
            match begun.await.map_or_else(silent, |begun| begun.map_err(store_error)) {
                Ok(_) => {
                    note_wait(began.elapsed());
                    let session = session.holding(slot);
                    let ear = Ear { patience: self.patience, silence: false };
                    return Ok(PgTransaction { session, ear });
                }
                Err(StoreError::Lost(_)) if sessions_left > 0 => {
                    sessions_left -= 1;
                    self.sessions.end_resting();
                }
                Err(error) => return Err(away(error)),
            }
        }
    }
}

/// Without a transaction nothing was executed, whatever the reason.
fn away(error: StoreError) -> StoreError {
    match error {
        StoreError::Busy => StoreError::Busy,
        error => StoreError::Unavailable(error.to_string()),
    }
}

fn note_wait(waited: Duration) {
    metrics::histogram!(signals::POOL_WAIT).record(waited);
    if waited > WAIT_WORTH_A_WARNING {
        let waited_seconds = waited.as_secs_f64();
        tracing::warn!(waited_seconds, "a database connection was waited for");
    }
}

impl Transaction for PgTransaction {
    async fn claim_keys(&mut self, claims: &[Claim]) -> Result<Vec<bool>, StoreError> {
        debug_assert!(claims.is_sorted_by(|a, b| a.key < b.key), "keys are claimed ascending");
        self.ear.hear(key_repo::claim(self.session.connection(), claims)).await
    }

    async fn claim_and_lock(
        &mut self,
        claims: &[Claim],
        sale: SaleId,
        users: &[UserId],
    ) -> Result<Reached, NotReached> {
        debug_assert!(claims.is_sorted_by(|a, b| a.key < b.key), "keys are claimed ascending");
        debug_assert!(users.is_sorted_by(|a, b| a < b), "wallets are locked ascending");
        self.ear
            .hear(lock_repo::claim_and_lock(self.session.connection(), claims, sale, users))
            .await
    }

    async fn earlier(&mut self, key: &KeyRef) -> Result<Option<Earlier>, StoreError> {
        self.ear.hear(key_repo::earlier(self.session.connection(), key)).await
    }

    async fn earlier_orders(
        &mut self,
        keys: &[KeyRef],
    ) -> Result<HashMap<KeyRef, (Fingerprint, Order)>, StoreError> {
        self.ear.hear(key_repo::earlier_orders(self.session.connection(), keys)).await
    }

    async fn release_keys(&mut self, keys: &[KeyRef]) -> Result<(), StoreError> {
        self.ear.hear(key_repo::release(self.session.connection(), keys)).await
    }

    async fn lock(&mut self, sale: SaleId, users: &[UserId]) -> Result<Locked, StoreError> {
        debug_assert!(users.is_sorted_by(|a, b| a < b), "wallets are locked ascending");
        self.ear.hear(lock_repo::lock(self.session.connection(), sale, users)).await
    }

    async fn held_wallets(&mut self, users: &[UserId]) -> Result<HashSet<UserId>, StoreError> {
        self.ear.hear(lock_repo::held_wallets(self.session.connection(), users)).await
    }

    async fn look(
        &mut self,
        sale: SaleId,
        users: &[UserId],
    ) -> Result<(Option<Sale>, Buyers), StoreError> {
        self.ear.hear(look_repo::look(self.session.connection(), sale, users)).await
    }

    async fn record(&mut self, winners: &Winners) -> Result<(), StoreError> {
        self.ear.hear(order_repo::record(self.session.connection(), winners)).await
    }

    async fn lock_wallet(&mut self, user: UserId) -> Result<Option<(Wallet, Moment)>, StoreError> {
        self.ear.hear(wallet_repo::lock(self.session.connection(), user)).await
    }

    async fn record_deposit(
        &mut self,
        entry: &LedgerEntry,
        wallet: &Wallet,
    ) -> Result<(), StoreError> {
        self.ear.hear(wallet_repo::record_deposit(self.session.connection(), entry, wallet)).await
    }

    async fn deposit(&mut self, id: EntryId) -> Result<Option<LedgerEntry>, StoreError> {
        self.ear.hear(wallet_repo::deposit(self.session.connection(), id)).await
    }

    async fn now(&mut self) -> Result<Moment, StoreError> {
        self.ear.hear(wallet_repo::now(self.session.connection())).await
    }

    async fn insert_user(&mut self, user: &User) -> Result<bool, StoreError> {
        self.ear.hear(user_repo::insert(self.session.connection(), user)).await
    }

    async fn user(&mut self, id: UserId) -> Result<Option<User>, StoreError> {
        self.ear.hear(user_repo::find(self.session.connection(), id)).await
    }

    async fn insert_sale(&mut self, sale: &Sale) -> Result<bool, StoreError> {
        self.ear.hear(sale_repo::insert(self.session.connection(), sale)).await
    }

    async fn sale(&mut self, id: SaleId) -> Result<Option<Sale>, StoreError> {
        self.ear.hear(sale_repo::find(self.session.connection(), id)).await
    }

    async fn commit(self) -> Result<(), CommitError> {
        self.end("COMMIT").await.map_err(commit_error)
    }

    /// A rollback that fails has no session left to roll back.
    async fn rollback(self) {
        if self.ear.silence {
            return;
        }
        if let Err(error) = self.end("ROLLBACK").await {
            tracing::debug!(%error, "rollback on a lost session");
        }
    }
}
