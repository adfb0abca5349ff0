//! What goes through the books' door ([`super::store`]): keys to claim, facts that stand while the
//! locks are held, and what a decision leaves behind.

use std::collections::HashMap;
use std::time::Duration;

use chrono::TimeDelta;
use uuid::Uuid;

use super::store::StoreError;
use crate::domain::Instant;
use crate::domain::decision::Buyer;
use crate::domain::id::UserId;
use crate::domain::key::{Fingerprint, KeyRef};
use crate::domain::ledger::LedgerEntry;
use crate::domain::order::Order;
use crate::domain::sale::Sale;
use crate::domain::wallet::Wallet;

/// A key to claim, and what it will have made if the transaction commits.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The key in its scope.
    pub key: KeyRef,
    /// The meaning of the request.
    pub fingerprint: Fingerprint,
    /// The id of what is made.
    pub resource_id: Uuid,
}

/// What a committed key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// The meaning of the request that committed.
    pub fingerprint: Fingerprint,
    /// The id of what was made.
    pub resource_id: Uuid,
}

/// What is known of the buyers.
#[derive(Debug)]
pub struct Buyers {
    /// The database's `clock_timestamp()`, read after the sale was locked.
    pub now: Instant,
    /// What is known of each buyer that was asked for.
    pub by_user: HashMap<UserId, Buyer>,
}

/// What is true while the locks are held.
#[derive(Debug)]
pub struct Locked {
    /// The sale as it stands, `None` when there is no such sale.
    pub sale: Option<Sale>,
    /// The buyers as they stand.
    pub buyers: Buyers,
    /// How long the locks were waited for.
    pub waited: Waited,
}

/// Waits for locks, as the store saw them: without the way to it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waited {
    /// For the sale's row.
    pub sale: Duration,
    /// For all wallets together.
    pub wallets: Duration,
}

/// How far [`super::store::Transaction::claim_and_lock`] came.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each group, taken apart at once")]
pub enum Reached {
    /// Every key is ours, and the locks are held.
    Locks(Locked),
    /// Some keys were committed before: position by position, which are ours. Nothing is locked.
    Keys(Vec<bool>),
}

/// Where [`super::store::Transaction::claim_and_lock`] failed.
#[derive(Debug)]
pub enum NotReached {
    /// At the keys, or nobody knows where.
    Keys(StoreError),
    /// At the locks: every key was ours.
    Locks(StoreError),
}

impl From<StoreError> for NotReached {
    /// Of an error of which nobody can say where it came.
    fn from(error: StoreError) -> NotReached {
        NotReached::Keys(error)
    }
}

/// What a decided group writes: winners only, and the rows they leave behind.
#[derive(Debug, Default)]
pub struct Winners {
    /// The orders, in the order of decision.
    pub orders: Vec<Order>,
    /// Their debits, one for each order.
    pub entries: Vec<LedgerEntry>,
    /// The sale behind the last of them.
    pub sale: Option<Sale>,
    /// Each touched wallet behind its last order.
    pub wallets: Vec<Wallet>,
    /// The first moment at which one of them may not be made any more: behind its `valid_until`, or
    /// the end of the sale.
    pub too_late: Option<Instant>,
}

impl Winners {
    /// Notes until when one of them may be made: at its `valid_until`, but not at the end of the
    /// sale. The database counts in microseconds.
    pub fn note_too_late(&mut self, valid_until: Option<Instant>, ends_at: Option<Instant>) {
        let behind = |moment: Instant| moment.checked_add_signed(TimeDelta::microseconds(1));
        let moments = [self.too_late, valid_until.and_then(behind), ends_at];
        self.too_late = moments.into_iter().flatten().min();
    }
}
