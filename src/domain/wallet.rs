//! A wallet: one balance for each user, and the number of ledger entries that made it.

use super::id::UserId;
use super::ledger::LedgerEntry;
use super::money::Money;

/// A wallet as locked or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wallet {
    /// Whose wallet.
    pub user_id: UserId,
    /// What can be spent.
    pub balance: Money,
    /// How many ledger entries it has; the next one gets this number plus one. It is also the
    /// version that an optimistic writer compares.
    pub entry_count: i64,
}

impl Wallet {
    /// Moves the wallet behind `entry`, which must be its next one.
    pub fn apply(&mut self, entry: &LedgerEntry) {
        assert_eq!(entry.user_id, self.user_id, "an entry belongs to its own wallet");
        assert_eq!(entry.number, self.entry_count + 1, "entries follow one another");
        let (credit, debit) = (entry.kind.credit(entry.amount), entry.kind.debit(entry.amount));
        let after = self.balance.plus(credit).and_then(|sum| sum.minus(debit));
        assert_eq!(after, Some(entry.balance_after), "the balance is the sum of its entries");
        self.balance = entry.balance_after;
        self.entry_count = entry.number;
    }
}
