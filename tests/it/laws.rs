//! The laws of the books, stated plainly in `domain::books`: each way to break them is named by its
//! law, and books that balance break none.

use chrono::{DateTime, TimeDelta};
use flashdeal::domain::Instant;
use flashdeal::domain::books::{Audit, Books, Law, check};
use flashdeal::domain::id::{EntryId, OrderId, SaleId, UserId};
use flashdeal::domain::ledger::{EntryKind, LedgerEntry};
use flashdeal::domain::money::Money;
use flashdeal::domain::order::Order;
use flashdeal::domain::quantity::Quantity;
use flashdeal::domain::sale::Sale;
use flashdeal::domain::text::ShortText;
use flashdeal::domain::wallet::Wallet;
use uuid::Uuid;

const LAWS: [(Law, &str); 13] = [
    (Law::StockConserved, "stock_conserved"),
    (Law::BalanceIsLedger, "balance_is_ledger"),
    (Law::LedgerChained, "ledger_chained"),
    (Law::OrderPaid, "order_paid"),
    (Law::DebitHasOrder, "debit_has_order"),
    (Law::OneOrderPerKey, "one_order_per_key"),
    (Law::KeysKept, "keys_kept"),
    (Law::LimitKept, "limit_kept"),
    (Law::WindowKept, "window_kept"),
    (Law::PriceKept, "price_kept"),
    (Law::UserHasWallet, "user_has_wallet"),
    (Law::SequenceUnbroken, "sequence_unbroken"),
    (Law::MoneyConserved, "money_conserved"),
];

fn noon() -> Instant {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn order(number: u128, user: u128, units: u64, sequence: i64, left: u64) -> Order {
    let quantity = Quantity::new(units).unwrap();
    Order {
        id: OrderId::new(Uuid::from_u128(number)),
        user_id: UserId::new(Uuid::from_u128(user)),
        sale_id: SaleId::new(Uuid::from_u128(1)),
        sequence,
        quantity,
        unit_price: Money::from_cents(10),
        total: Money::from_cents(10 * units),
        balance_after: Money::from_cents(left),
        reference: None,
        created_at: noon(),
    }
}

fn entry(number: u128, user: u128, at: i64, kind: EntryKind, cents: [u64; 2]) -> LedgerEntry {
    LedgerEntry {
        id: EntryId::new(Uuid::from_u128(number)),
        user_id: UserId::new(Uuid::from_u128(user)),
        number: at,
        kind,
        amount: Money::from_cents(cents[0]),
        balance_after: Money::from_cents(cents[1]),
        reference: None,
        created_at: noon(),
    }
}

/// One sale with a limit of 3, two buyers with 1.00 each; they have bought 3 and 1, and the
/// first one 0 of another sale.
fn balanced() -> Books {
    let sale = Sale {
        id: SaleId::new(Uuid::from_u128(1)),
        name: ShortText::parse("lamp").unwrap(),
        sku: None,
        unit_price: Money::from_cents(10),
        stock: 6,
        stock_initial: 10,
        per_user_limit: Some(3),
        starts_at: noon(),
        ends_at: Some(noon() + TimeDelta::hours(1)),
        sold_out_at: None,
        created_at: noon(),
        order_count: 3,
    };
    let orders = [order(31, 11, 2, 1, 80), order(32, 12, 1, 2, 90), order(33, 11, 1, 3, 70)];
    let paid = |number: u128| EntryKind::Order(OrderId::new(Uuid::from_u128(number)));
    let entries = vec![
        entry(43, 11, 3, paid(33), [10, 70]),
        entry(41, 11, 1, EntryKind::Deposit, [100, 100]),
        entry(42, 11, 2, paid(31), [20, 80]),
        entry(44, 12, 1, EntryKind::Deposit, [100, 100]),
        entry(45, 12, 2, paid(32), [10, 90]),
    ];
    let wallet = |user: u128, cents: u64, entry_count: i64| {
        let user_id = UserId::new(Uuid::from_u128(user));
        (user_id, Wallet { user_id, balance: Money::from_cents(cents), entry_count })
    };
    let other = Sale {
        id: SaleId::new(Uuid::from_u128(2)),
        stock: 5,
        stock_initial: 5,
        order_count: 0,
        ..sale.clone()
    };
    Books {
        sales: [sale, other].map(|sale| (sale.id, sale)).into(),
        wallets: [wallet(11, 70, 3), wallet(12, 90, 2)].into(),
        orders: orders.map(|order| (order.id, order)).into(),
        entries,
    }
}

/// The laws that these books break, each once.
fn broken(books: &Books) -> Vec<String> {
    let mut laws: Vec<String> = check(books).into_iter().map(|found| found.law).collect();
    laws.sort();
    laws.dedup();
    laws
}

#[test]
fn each_law_has_its_published_name() {
    for (law, name) in LAWS {
        assert_eq!(law.name(), name);
    }
}

#[test]
fn balanced_books_break_no_law() {
    assert_eq!(check(&balanced()), []);
}

#[test]
fn each_way_to_break_the_books_is_named_by_its_law() {
    type Damage = fn(&mut Books);
    let cases: [(Damage, &[&str]); 19] = [
        (|books| sale(books).stock = 7, &["stock_conserved"]),
        (|books| sale(books).stock = 5, &["stock_conserved"]),
        (|books| sale(books).stock_initial = 3, &["stock_conserved"]),
        (|books| sale(books).order_count = 4, &["sequence_unbroken"]),
        (|books| of(books, 33).sequence = 4, &["sequence_unbroken"]),
        (|books| of(books, 33).sequence = 2, &["sequence_unbroken"]),
        (|books| sale(books).per_user_limit = Some(2), &["limit_kept"]),
        (|books| sale(books).starts_at += TimeDelta::seconds(1), &["window_kept"]),
        (|books| sale(books).ends_at = Some(noon()), &["window_kept"]),
        (
            |books| books.entries[0].balance_after = Money::from_cents(71),
            &["balance_is_ledger", "ledger_chained"],
        ),
        (|books| books.entries[2].number = 1, &["ledger_chained"]),
        (|books| wallet(books).balance = Money::from_cents(91), &["balance_is_ledger"]),
        (|books| wallet(books).entry_count = 3, &["balance_is_ledger"]),
        (|books| sale(books).unit_price = Money::from_cents(9), &["price_kept"]),
        (|books| books.entries[4].created_at += TimeDelta::seconds(1), &["order_paid"]),
        (|books| of(books, 32).reference = ShortText::parse("cart").ok(), &["order_paid"]),
        (|books| of(books, 31).total = Money::from_cents(21), &["order_paid"]),
        (|books| of(books, 32).user_id = UserId::new(Uuid::from_u128(13)), &["order_paid"]),
        (
            |books| drop(books.orders.remove(&OrderId::new(Uuid::from_u128(33)))),
            &["debit_has_order", "sequence_unbroken", "stock_conserved"],
        ),
    ];
    for (at, (damage, laws)) in cases.into_iter().enumerate() {
        let mut books = balanced();
        damage(&mut books);
        assert_eq!(broken(&books), laws, "case {at}");
    }
}

#[test]
fn an_order_that_is_paid_twice_or_not_at_all_is_named() {
    let mut books = balanced();
    let mut again = books.entries[4].clone();
    (again.number, again.balance_after) = (3, Money::from_cents(80));
    books.entries.push(again);
    (wallet(&mut books).entry_count, wallet(&mut books).balance) = (3, Money::from_cents(80));
    assert_eq!(broken(&books), ["order_paid"]);
    let mut books = balanced();
    books.entries.pop();
    (wallet(&mut books).entry_count, wallet(&mut books).balance) = (1, Money::from_cents(100));
    assert_eq!(broken(&books), ["order_paid"]);
}

#[test]
fn a_discrepancy_says_what_where_and_what_instead() {
    let mut books = balanced();
    sale(&mut books).order_count = 9;
    let found = check(&books);
    let sale = "sale 00000000-0000-0000-0000-000000000001";
    let said = format!("sequence_unbroken: {sale}: expected 9, found 3");
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [said]);
    let mut audit =
        Audit { checked_at: noon(), sales: 2, wallets: 2, orders: 3, discrepancies: found };
    assert!(!audit.balanced());
    audit.discrepancies.clear();
    assert!(audit.balanced());
}

fn sale(books: &mut Books) -> &mut Sale {
    books.sales.get_mut(&SaleId::new(Uuid::from_u128(1))).unwrap()
}

fn wallet(books: &mut Books) -> &mut Wallet {
    books.wallets.get_mut(&UserId::new(Uuid::from_u128(12))).unwrap()
}

fn of(books: &mut Books, number: u128) -> &mut Order {
    books.orders.get_mut(&OrderId::new(Uuid::from_u128(number))).unwrap()
}
