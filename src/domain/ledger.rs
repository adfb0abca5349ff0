//! The ledger: an append-only list of what moved each balance.

use super::Instant;
use super::id::{EntryId, OrderId, UserId};
use super::money::Money;
use super::text::ShortText;

/// One movement of one wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The entry's id.
    pub id: EntryId,
    /// Whose wallet.
    pub user_id: UserId,
    /// 1 for the wallet's first entry, then without gaps.
    pub number: i64,
    /// What moved the money, and in which direction.
    pub kind: EntryKind,
    /// How much moved, without a sign.
    pub amount: Money,
    /// The balance behind this entry.
    pub balance_after: Money,
    /// The caller's own reference, if one was given.
    pub reference: Option<ShortText>,
    /// When, by the database's clock.
    pub created_at: Instant,
}

/// What moved the money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Money came in.
    Deposit,
    /// Money paid for an order.
    Order(OrderId),
}

impl EntryKind {
    /// What this kind adds to a balance.
    pub fn credit(self, amount: Money) -> Money {
        match self {
            EntryKind::Deposit => amount,
            EntryKind::Order(_) => Money::ZERO,
        }
    }

    /// What this kind takes from a balance.
    pub fn debit(self, amount: Money) -> Money {
        match self {
            EntryKind::Deposit => Money::ZERO,
            EntryKind::Order(_) => amount,
        }
    }

    /// The stored and published name.
    pub fn name(self) -> &'static str {
        match self {
            EntryKind::Deposit => "deposit",
            EntryKind::Order(_) => "order",
        }
    }
}
