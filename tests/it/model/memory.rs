//! Another way in: the engine and the deposits on the store in memory, for sequences that are too
//! long for a disk. The books are checked behind each of them.

use std::sync::Arc;
use std::time::Duration;

use flashdeal::adapters::memory::MemoryStore;
use flashdeal::domain::Instant;
use flashdeal::domain::books;
use flashdeal::domain::id::{Id, SaleId, UserId};
use flashdeal::domain::key::IdempotencyKey;
use flashdeal::domain::ledger::LedgerEntry;
use flashdeal::domain::money::Money;
use flashdeal::domain::order::{Order, PlaceOrder};
use flashdeal::domain::quantity::Quantity;
use flashdeal::domain::refusal::Refusal;
use flashdeal::domain::sale::Sale;
use flashdeal::domain::text::ShortText;
use flashdeal::logic::accounts::{CreateUser, Deposit, create_user, deposit};
use flashdeal::logic::admission::{Admission, AdmissionOptions};
use flashdeal::logic::ids::new_id;
use flashdeal::logic::keyed::Answer;
use flashdeal::logic::orders::Engine;
use flashdeal::logic::orders::alone::Alone;
use flashdeal::ports::store::{Store, Transaction};
use serde_json::{Value, json};

use super::doors::{Door, LONG_AGO, NOBODY, Spelling, reference};
use super::script::{SaleSpec, Script, TopUp, Wish};
use super::world::Seen;

/// Far longer than any step takes.
const LONG: Duration = Duration::from_secs(60);

/// The engine and the deposits, on the store in memory.
#[derive(Default)]
pub(super) struct MemoryDoor {
    store: MemoryStore,
    users: Vec<UserId>,
    sales: Vec<SaleId>,
}

fn seen<V: std::fmt::Debug>(answer: Answer<V>, members: impl Fn(&V) -> Value) -> Seen {
    let (status, code, replayed, members, receipt) = match answer {
        Answer::Made(made) => (201, "made", false, members(&made), format!("{made:?}")),
        Answer::Replayed(made) => (201, "made", true, members(&made), format!("{made:?}")),
        Answer::KeyReused { resource_id } => {
            let members = json!({ "order_id": resource_id.to_string() });
            (422, "idempotency_key_reused", false, members, String::new())
        }
        Answer::Refused(refusal) => {
            let members = match &refusal {
                Refusal::LimitReached { limit, bought } => {
                    json!({ "limit": limit, "bought": bought })
                }
                Refusal::OutOfStock { stock } => json!({ "stock": stock }),
                Refusal::InsufficientBalance { balance, total } => {
                    json!({ "balance": balance.to_string(), "total": total.to_string() })
                }
                _ => json!({}),
            };
            let absent = matches!(refusal, Refusal::SaleNotFound | Refusal::UserNotFound);
            let status = if absent { 404 } else { 400 };
            (status, refusal.code(), false, members, String::new())
        }
    };
    Seen { status, code: code.to_owned(), replayed, members, receipt }
}

fn order_members(order: &Order) -> Value {
    json!({
        "id": order.id.to_string(),
        "quantity": order.quantity.units(),
        "unit_price": order.unit_price.to_string(),
        "total": order.total.to_string(),
        "balance_after": order.balance_after.to_string(),
    })
}

fn entry_members(entry: &LedgerEntry) -> Value {
    json!({
        "id": entry.id.to_string(),
        "amount": entry.amount.to_string(),
        "balance_after": entry.balance_after.to_string(),
    })
}

fn moment(text: &str) -> Instant {
    let parsed = chrono::DateTime::parse_from_rfc3339(text);
    parsed.expect("a moment").to_utc()
}

fn short(text: &str) -> ShortText {
    ShortText::parse(text).expect("a short text")
}

fn key_of(key: &str) -> IdempotencyKey {
    IdempotencyKey::parse(key.as_bytes()).expect("a key")
}

fn sale_of(spec: &SaleSpec) -> Sale {
    let (starts_at, ends_at) = spec.window.bounds();
    Sale {
        id: new_id(),
        name: short("Test item"),
        sku: None,
        unit_price: Money::from_cents(spec.price),
        stock: spec.stock,
        stock_initial: spec.stock,
        per_user_limit: spec.limit,
        starts_at: moment(starts_at),
        ends_at: ends_at.map(moment),
        sold_out_at: None,
        created_at: moment(LONG_AGO),
        order_count: 0,
    }
    .as_created()
}

fn nobody<Kind>() -> Id<Kind> {
    Id::parse(NOBODY).expect("an id")
}

impl Door for MemoryDoor {
    async fn open(&mut self, script: &Script) {
        *self = MemoryDoor::default();
        self.store.world().await.now = moment("2026-01-01T00:00:00Z");
        for cents in &script.balances {
            let request = CreateUser {
                user_id: new_id(),
                external_id: None,
                name: None,
                opening_balance: Some(Money::from_cents(*cents)),
                key: None,
            };
            self.users.push(request.user_id);
            let made = create_user(&self.store, LONG, request).await;
            assert!(matches!(made, Ok(Answer::Made(_))), "{made:?}");
        }
        let mut transaction = self.store.begin().await.expect("a transaction");
        for spec in &script.sales {
            let sale = sale_of(spec);
            self.sales.push(sale.id);
            assert!(transaction.insert_sale(&sale).await.expect("a sale"));
        }
        transaction.commit().await.expect("a commit");
    }

    async fn place(&mut self, wish: &Wish, key: &str, _: Spelling) -> Seen {
        let order = PlaceOrder {
            order_id: new_id(),
            entry_id: new_id(),
            user_id: self.users.get(wish.user).copied().unwrap_or_else(nobody),
            sale_id: self.sales.get(wish.sale).copied().unwrap_or_else(nobody),
            quantity: Quantity::new(wish.quantity.into()).expect("a quantity"),
            reference: wish.reference.map(|n| short(&reference(n))),
            valid_until: wish.until.text().map(moment),
            key: key_of(key),
        };
        let admission = Admission::new(
            AdmissionOptions { slots: 1, waiting_max: 1, wait_max: LONG },
            Arc::default(),
        );
        let engine = Alone::pessimistic(self.store.clone(), Arc::new(admission), LONG);
        seen(engine.place(order).await.expect("a decision"), order_members)
    }

    async fn deposit(&mut self, top_up: &TopUp, key: &str) -> Seen {
        let request = Deposit {
            entry_id: new_id(),
            user_id: self.users.get(top_up.user).copied().unwrap_or_else(nobody),
            amount: Money::from_cents(top_up.cents),
            reference: top_up.reference.map(|n| short(&reference(n))),
            key: key_of(key),
        };
        let made = deposit(&self.store, LONG, request).await;
        seen(made.expect("a decision"), entry_members)
    }

    async fn left(&mut self) -> (Vec<u64>, Vec<u32>) {
        let world = self.store.world().await;
        let found = books::check(&world.books);
        assert!(found.is_empty(), "{found:#?}");
        let cents = |user| {
            let balance = world.books.wallets[user].balance.to_string();
            balance.replace('.', "").parse().expect("cents")
        };
        let stock = |sale| world.books.sales[sale].stock;
        (self.users.iter().map(cents).collect(), self.sales.iter().map(stock).collect())
    }
}
