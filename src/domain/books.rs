//! The books: the laws that must hold whenever nobody is in the middle of a transaction.
//!
//! The PostgreSQL adapter checks the same laws with set-based SQL in one snapshot
//! (`adapters::postgres::verify_laws`); [`check`] is the plain statement of them, used by the
//! in-memory adapter and by tests, and the place to read what each law means.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::Instant;
use super::id::{OrderId, SaleId, UserId};
use super::ledger::{EntryKind, LedgerEntry};
use super::order::Order;
use super::sale::Sale;
use super::wallet::Wallet;

/// The laws of the contract, section 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// `stock + Σ quantity of confirmed orders = stock_initial` and `0 ≤ stock`.
    StockConserved,
    /// `balance = Σ ledger entries` and `0 ≤ balance`.
    BalanceIsLedger,
    /// Each entry's `balance_after` follows from the one before; numbers have no gaps.
    LedgerChained,
    /// Every order has exactly one debit of exactly `quantity × unit_price`, with its moment and
    /// reference.
    OrderPaid,
    /// Every debit has its order.
    DebitHasOrder,
    /// At most one order for each key; every order has its key.
    OneOrderPerKey,
    /// Every deposit behind what a user begins with has its one key; every key of a deposit, a user
    /// or a sale has what it made.
    KeysKept,
    /// No user above a sale's limit.
    LimitKept,
    /// No order outside its sale's window.
    WindowKept,
    /// No order at another price than its sale's.
    PriceKept,
    /// Every user has a wallet.
    UserHasWallet,
    /// A sale's orders are numbered without gaps.
    SequenceUnbroken,
    /// `Σ balances + Σ confirmed totals = Σ deposits`.
    MoneyConserved,
}

impl Law {
    /// The published name.
    pub fn name(self) -> &'static str {
        match self {
            Law::StockConserved => "stock_conserved",
            Law::BalanceIsLedger => "balance_is_ledger",
            Law::LedgerChained => "ledger_chained",
            Law::OrderPaid => "order_paid",
            Law::DebitHasOrder => "debit_has_order",
            Law::OneOrderPerKey => "one_order_per_key",
            Law::KeysKept => "keys_kept",
            Law::LimitKept => "limit_kept",
            Law::WindowKept => "window_kept",
            Law::PriceKept => "price_kept",
            Law::UserHasWallet => "user_has_wallet",
            Law::SequenceUnbroken => "sequence_unbroken",
            Law::MoneyConserved => "money_conserved",
        }
    }
}

/// One place where a law does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discrepancy {
    /// The law's published name.
    pub law: String,
    /// What breaks it, for example `sale 0190b000-…`.
    pub subject: String,
    /// What the law demands.
    pub expected: String,
    /// What is there.
    pub actual: String,
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Discrepancy { law, subject, expected, actual } = self;
        write!(f, "{law}: {subject}: expected {expected}, found {actual}")
    }
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The database's time of the snapshot.
    pub checked_at: Instant,
    /// Sales looked at.
    pub sales: i64,
    /// Wallets looked at.
    pub wallets: i64,
    /// Orders looked at.
    pub orders: i64,
    /// Where laws are broken; at most [`Audit::DISCREPANCIES_MAX`], the rest is not listed.
    pub discrepancies: Vec<Discrepancy>,
}

impl Audit {
    /// The longest list of discrepancies that one audit names.
    pub const DISCREPANCIES_MAX: usize = 1_000;

    /// Whether every law holds.
    pub fn balanced(&self) -> bool {
        self.discrepancies.is_empty()
    }
}

/// All facts of a small world, for [`check`].
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// Every sale.
    pub sales: BTreeMap<SaleId, Sale>,
    /// Every wallet.
    pub wallets: BTreeMap<UserId, Wallet>,
    /// Every order.
    pub orders: BTreeMap<OrderId, Order>,
    /// Every ledger entry.
    pub entries: Vec<LedgerEntry>,
}

/// Checks every law that these facts can break and names each discrepancy.
pub fn check(books: &Books) -> Vec<Discrepancy> {
    let mut found = Vec::new();
    check_sales(books, &mut found);
    check_wallets(books, &mut found);
    check_payments(books, &mut found);
    found
}

fn check_sales(books: &Books, found: &mut Vec<Discrepancy>) {
    for sale in books.sales.values() {
        let mut sold = 0_u64;
        let mut count = 0_i64;
        let mut by_user: HashMap<UserId, u32> = HashMap::new();
        let mut sequences = HashSet::new();
        for order in books.orders.values().filter(|order| order.sale_id == sale.id) {
            sold += u64::from(order.quantity.units());
            count += 1;
            sequences.insert(order.sequence);
            *by_user.entry(order.user_id).or_default() += order.quantity.units();
            let open = sale.is_open(order.created_at);
            let subject = format!("order {}", order.id);
            report(found, open, Law::WindowKept, &subject, true, open);
            let (due, asked) = (sale.unit_price, order.unit_price);
            report(found, asked == due, Law::PriceKept, &subject, due, asked);
        }
        let subject = format!("sale {}", sale.id);
        let left = u64::from(sale.stock_initial).checked_sub(sold);
        let holds = left == Some(u64::from(sale.stock));
        report(found, holds, Law::StockConserved, &subject, format!("{left:?}"), sale.stock);
        let unbroken = count == sale.order_count && (1..=count).all(|n| sequences.contains(&n));
        report(found, unbroken, Law::SequenceUnbroken, &subject, sale.order_count, count);
        for (user, units) in by_user {
            let kept = sale.per_user_limit.is_none_or(|limit| units <= limit);
            let subject = format!("user {user} in sale {}", sale.id);
            let limit = sale.per_user_limit.unwrap_or_default();
            report(found, kept, Law::LimitKept, &subject, limit, units);
        }
    }
}

fn check_wallets(books: &Books, found: &mut Vec<Discrepancy>) {
    for wallet in books.wallets.values() {
        let mut entries: Vec<_> =
            books.entries.iter().filter(|entry| entry.user_id == wallet.user_id).collect();
        entries.sort_by_key(|entry| entry.number);
        let mut replayed =
            Wallet { user_id: wallet.user_id, balance: super::money::Money::ZERO, entry_count: 0 };
        let subject = format!("wallet {}", wallet.user_id);
        for entry in entries {
            let after = replayed
                .balance
                .plus(entry.kind.credit(entry.amount))
                .and_then(|sum| sum.minus(entry.kind.debit(entry.amount)));
            let follows =
                after == Some(entry.balance_after) && entry.number == replayed.entry_count + 1;
            let (expected, actual) = (format!("{after:?}"), entry.balance_after);
            report(found, follows, Law::LedgerChained, &subject, expected, actual);
            replayed.balance = entry.balance_after;
            replayed.entry_count = entry.number;
        }
        let holds = replayed == *wallet;
        let (expected, actual) = (replayed.balance, wallet.balance);
        report(found, holds, Law::BalanceIsLedger, &subject, expected, actual);
    }
}

fn check_payments(books: &Books, found: &mut Vec<Discrepancy>) {
    let mut debits: HashMap<OrderId, Vec<&LedgerEntry>> = HashMap::new();
    for entry in &books.entries {
        if let EntryKind::Order(order) = entry.kind {
            debits.entry(order).or_default().push(entry);
            let known = books.orders.contains_key(&order);
            report(found, known, Law::DebitHasOrder, &format!("entry {}", entry.id), true, known);
        }
    }
    for order in books.orders.values() {
        let due = order.unit_price.times(order.quantity.units());
        let paid = debits.get(&order.id).map_or(&[][..], Vec::as_slice);
        let holds = order.total == due
            && matches!(paid, [one] if one.amount == due && one.user_id == order.user_id
                && one.created_at == order.created_at && one.reference == order.reference);
        let subject = format!("order {}", order.id);
        report(found, holds, Law::OrderPaid, &subject, due, format!("{} debits", paid.len()));
    }
}

fn report(
    found: &mut Vec<Discrepancy>,
    holds: bool,
    law: Law,
    subject: &str,
    expected: impl fmt::Display,
    actual: impl fmt::Display,
) {
    if !holds {
        found.push(Discrepancy {
            law: law.name().to_owned(),
            subject: subject.to_owned(),
            expected: expected.to_string(),
            actual: actual.to_string(),
        });
    }
}
