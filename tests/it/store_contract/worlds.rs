//! Small worlds made from a seed: users, sales and groups of orders, the same on every store.

use chrono::DateTime;
use fastrand::Rng;
use flashdeal::domain::Instant;
use flashdeal::domain::id::{EntryId, Id, SaleId, UserId};
use flashdeal::domain::key::IdempotencyKey;
use flashdeal::domain::ledger::{EntryKind, LedgerEntry};
use flashdeal::domain::money::Money;
use flashdeal::domain::order::PlaceOrder;
use flashdeal::domain::quantity::Quantity;
use flashdeal::domain::sale::Sale;
use flashdeal::domain::text::ShortText;
use flashdeal::domain::user::User;
use flashdeal::domain::wallet::Wallet;
use flashdeal::ports::store::{Store, Transaction};
use uuid::Uuid;

/// Noon in a year: windows are years away from every clock, so that all stores agree on them.
pub(crate) fn year(year: i32) -> Instant {
    let text = format!("{year}-01-01T12:00:00Z");
    DateTime::parse_from_rfc3339(&text).unwrap().to_utc()
}

/// A key.
pub(crate) fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::parse(text.as_bytes()).unwrap()
}

/// A live sale without a limit.
pub(crate) fn open_sale(id: u128, cents: u64, stock: u32) -> Sale {
    Sale {
        id: SaleId::new(Uuid::from_u128(id)),
        name: ShortText::parse("lamp").unwrap(),
        sku: None,
        unit_price: Money::from_cents(cents),
        stock,
        stock_initial: stock,
        per_user_limit: None,
        starts_at: year(2001),
        ends_at: None,
        sold_out_at: None,
        created_at: year(2000),
        order_count: 0,
    }
    .as_created()
}

/// An order for one unit.
pub(crate) fn wish(id: u128, user: UserId, sale: SaleId, text: &str) -> PlaceOrder {
    PlaceOrder {
        order_id: Id::new(Uuid::from_u128(id)),
        entry_id: Id::new(Uuid::from_u128(id + 1)),
        user_id: user,
        sale_id: sale,
        quantity: Quantity::ONE,
        reference: None,
        valid_until: None,
        key: key(text),
    }
}

/// Makes a user with a wallet that one deposit filled (none for nothing).
pub(crate) async fn make_user<T: Transaction>(transaction: &mut T, id: UserId, cents: u64) {
    let now = transaction.now().await.unwrap();
    let user = User { id, external_id: None, name: None, created_at: now };
    assert!(transaction.insert_user(&user).await.unwrap());
    if cents > 0 {
        let (entry, wallet) = deposit_of(id, cents, now);
        transaction.record_deposit(&entry, &wallet).await.unwrap();
    }
}

/// The first deposit of a wallet, and the wallet behind it.
pub(crate) fn deposit_of(user_id: UserId, cents: u64, now: Instant) -> (LedgerEntry, Wallet) {
    let amount = Money::from_cents(cents);
    let entry = LedgerEntry {
        id: EntryId::new(Uuid::from_u128(user_id.uuid().as_u128() ^ 1 << 64)),
        user_id,
        number: 1,
        kind: EntryKind::Deposit,
        amount,
        balance_after: amount,
        reference: None,
        created_at: now,
    };
    let mut wallet = Wallet { user_id, balance: Money::ZERO, entry_count: 0 };
    wallet.apply(&entry);
    (entry, wallet)
}

/// A world and what happens in it.
pub(crate) struct SeededWorld {
    /// Users with the cents they begin with.
    pub(crate) users: Vec<(UserId, u64)>,
    /// Sales.
    pub(crate) sales: Vec<Sale>,
    /// Groups of orders, one after the other. A key may come again, in a group and between them.
    pub(crate) groups: Vec<(SaleId, Vec<PlaceOrder>)>,
}

impl SeededWorld {
    /// The world of a seed.
    pub(crate) fn of(seed: u64) -> SeededWorld {
        let mut rng = Rng::with_seed(seed);
        let users = (0..rng.usize(1..=8))
            .map(|_| (UserId::new(Uuid::from_u128(rng.u128(..))), rng.u64(0..12) * 500))
            .collect();
        let sales = (0..2).map(|_| random_sale(&mut rng)).collect();
        let mut world = SeededWorld { users, sales, groups: Vec::new() };
        for _ in 0..rng.usize(3..=6) {
            let group = world.random_group(&mut rng);
            world.groups.push(group);
        }
        world
    }

    /// Puts users and sales into a store.
    pub(crate) async fn arrange<S: Store>(&self, store: &S) {
        let mut transaction = store.begin().await.unwrap();
        for (id, cents) in &self.users {
            make_user(&mut transaction, *id, *cents).await;
        }
        for sale in &self.sales {
            assert!(transaction.insert_sale(sale).await.unwrap());
        }
        transaction.commit().await.unwrap();
    }

    fn random_group(&self, rng: &mut Rng) -> (SaleId, Vec<PlaceOrder>) {
        let sale_id = match rng.u32(0..12) {
            0 => Id::new(Uuid::from_u128(7)),
            n => self.sales[n as usize % 2].id,
        };
        let size = rng.usize(1..=50).min(rng.usize(1..=80));
        let mut orders: Vec<PlaceOrder> = Vec::new();
        while orders.len() < size {
            let order = self.random_order(rng, sale_id, &orders);
            orders.push(order);
        }
        (sale_id, orders)
    }

    /// New ones, replays of earlier ones, and earlier keys with another meaning.
    fn random_order(&self, rng: &mut Rng, sale_id: SaleId, beside: &[PlaceOrder]) -> PlaceOrder {
        let (order_id, entry_id) = (rng.u128(..), rng.u128(..));
        let before = self.groups.iter().flat_map(|(_, group)| group);
        let earlier: Vec<&PlaceOrder> = before.chain(beside).collect();
        let mut order = match rng.choice(&earlier) {
            Some(earlier) if rng.u32(0..3) == 0 => (*earlier).clone(),
            _ => self.new_order(rng, sale_id),
        };
        if rng.u32(0..10) == 0 {
            order.quantity = Quantity::new(rng.u64(1..=9)).unwrap();
        }
        PlaceOrder {
            order_id: Id::new(Uuid::from_u128(order_id)),
            entry_id: Id::new(Uuid::from_u128(entry_id)),
            sale_id,
            ..order
        }
    }

    fn new_order(&self, rng: &mut Rng, sale_id: SaleId) -> PlaceOrder {
        let nobody = (UserId::new(Uuid::from_u128(9)), 0);
        let (user_id, _) = match rng.u32(0..15) {
            0 => nobody,
            _ => self.users[rng.usize(..self.users.len())],
        };
        PlaceOrder {
            quantity: Quantity::new(rng.u64(1..=3)).unwrap(),
            reference: (rng.u32(0..4) == 0).then(|| ShortText::parse("cart 7").unwrap()),
            valid_until: match rng.u32(0..15) {
                0 => Some(year(2002)),
                1 => Some(year(2999)),
                _ => None,
            },
            ..wish(0, user_id, sale_id, &format!("k{}", rng.u32(0..200)))
        }
    }
}

fn random_sale(rng: &mut Rng) -> Sale {
    let cents = rng.u64(0..8) * 250;
    let (starts_at, ends_at) = match rng.u32(0..10) {
        0 => (year(2001), Some(year(2003))),
        1 => (year(2998), None),
        2 => (year(2001), Some(year(2999))),
        _ => (year(2001), None),
    };
    Sale {
        per_user_limit: rng.bool().then(|| rng.u32(1..=7)),
        starts_at,
        ends_at,
        ..open_sale(rng.u128(..), cents, rng.u32(0..40))
    }
}
