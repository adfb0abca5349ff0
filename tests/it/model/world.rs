//! The model: what the contract says must be answered, in plain numbers. It shares no code with the
//! service; two people who read section 4 to 6 wrote the same rules down twice.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::script::{SALES, SaleSpec, Script, TopUp, USERS, Until, Window, Wish};

/// The largest balance, in cents.
const BALANCE_MAX: u64 = 9_999_999_999_999;

/// An answer as a door saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) status: u16,
    /// The problem's code, or `made`.
    pub(super) code: String,
    pub(super) replayed: bool,
    /// What the answer says, as JSON.
    pub(super) members: Value,
    /// The whole answer, to be compared with its replays.
    pub(super) receipt: String,
}

/// An answer as the model predicts it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expected {
    /// 201, new, with these members.
    Made(Value),
    /// 201, the same again.
    Replay(String),
    /// 422; the id of the order where one stands under the key.
    Reused(Option<String>),
    /// 400 or 404 with these members.
    Refused(u16, &'static str, Value),
}

impl Expected {
    /// What is different, if anything is.
    pub(super) fn differs_from(&self, seen: &Seen) -> Option<String> {
        let (status, code, replayed, members) = match self {
            Expected::Made(members) => (201, "made", false, members.clone()),
            Expected::Replay(receipt) => {
                if *receipt != seen.receipt {
                    return Some(format!("expected the receipt {receipt}, found {seen:?}"));
                }
                (201, "made", true, json!({}))
            }
            Expected::Reused(None) => (422, "idempotency_key_reused", false, json!({})),
            Expected::Reused(Some(id)) => {
                (422, "idempotency_key_reused", false, json!({ "order_id": id }))
            }
            Expected::Refused(status, code, members) => (*status, *code, false, members.clone()),
        };
        let wrong = members
            .as_object()
            .into_iter()
            .flatten()
            .any(|(name, value)| seen.members[name] != *value);
        let head = (seen.status, seen.code.as_str(), seen.replayed);
        (wrong || head != (status, code, replayed))
            .then(|| format!("expected {self:?}, found {seen:?}"))
    }

    /// The name under which it is counted.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Expected::Made(_) => "made",
            Expected::Replay(_) => "replayed",
            Expected::Reused(_) => "idempotency_key_reused",
            Expected::Refused(_, code, _) => code,
        }
    }
}

/// What a key stands for.
struct Spent<M> {
    meaning: M,
    id: String,
    receipt: String,
}

/// Everything that is true.
pub(super) struct Model {
    /// Cents of each user.
    pub(super) balances: Vec<u64>,
    /// Units left of each sale.
    pub(super) stock: Vec<u32>,
    sales: Vec<SaleSpec>,
    bought: [[u32; SALES]; USERS],
    orders: HashMap<(usize, String), Spent<Wish>>,
    deposits: HashMap<(usize, String), Spent<TopUp>>,
}

/// Cents as the contract writes money.
pub(super) fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn id_of(seen: &Seen) -> String {
    seen.members["id"].as_str().unwrap_or_default().to_owned()
}

impl Model {
    pub(super) fn new(script: &Script) -> Model {
        Model {
            balances: script.balances.clone(),
            stock: script.sales.iter().map(|sale| sale.stock).collect(),
            sales: script.sales.clone(),
            bought: [[0; SALES]; USERS],
            orders: HashMap::new(),
            deposits: HashMap::new(),
        }
    }

    /// What this order must be answered.
    pub(super) fn order(&self, wish: &Wish, key: &str) -> Expected {
        if let Some(spent) = self.orders.get(&(wish.user, key.to_owned())) {
            return match spent.meaning == *wish {
                true => Expected::Replay(spent.receipt.clone()),
                false => Expected::Reused(Some(spent.id.clone())),
            };
        }
        if wish.until == Until::Past {
            return Expected::Refused(400, "order_expired", json!({}));
        }
        let Some(sale) = self.sales.get(wish.sale) else {
            return Expected::Refused(404, "sale_not_found", json!({}));
        };
        if sale.window != Window::Open {
            return Expected::Refused(400, "sale_not_open", json!({}));
        }
        let bought = self.bought.get(wish.user).map_or(0, |own| own[wish.sale]);
        if let Some(limit) = sale.limit
            && limit < bought + wish.quantity
        {
            let members = json!({ "limit": limit, "bought": bought });
            return Expected::Refused(400, "purchase_limit_reached", members);
        }
        let stock = self.stock[wish.sale];
        if stock < wish.quantity {
            return Expected::Refused(400, "out_of_stock", json!({ "stock": stock }));
        }
        let Some(balance) = self.balances.get(wish.user) else {
            return Expected::Refused(404, "user_not_found", json!({}));
        };
        let total = sale.price * u64::from(wish.quantity);
        if total > *balance {
            let members = json!({ "balance": money(*balance), "total": money(total) });
            return Expected::Refused(400, "insufficient_balance", members);
        }
        Expected::Made(json!({
            "quantity": wish.quantity,
            "unit_price": money(sale.price),
            "total": money(total),
            "balance_after": money(balance - total),
        }))
    }

    /// An order was made.
    pub(super) fn ordered(&mut self, wish: &Wish, key: &str, seen: &Seen) {
        self.balances[wish.user] -= self.sales[wish.sale].price * u64::from(wish.quantity);
        self.stock[wish.sale] -= wish.quantity;
        self.bought[wish.user][wish.sale] += wish.quantity;
        let spent = Spent { meaning: *wish, id: id_of(seen), receipt: seen.receipt.clone() };
        self.orders.insert((wish.user, key.to_owned()), spent);
    }

    /// What this deposit must be answered.
    pub(super) fn deposit(&self, top_up: &TopUp, key: &str) -> Expected {
        if let Some(spent) = self.deposits.get(&(top_up.user, key.to_owned())) {
            return match spent.meaning == *top_up {
                true => Expected::Replay(spent.receipt.clone()),
                false => Expected::Reused(None),
            };
        }
        match self.balances.get(top_up.user) {
            None => Expected::Refused(404, "user_not_found", json!({})),
            Some(balance) if balance + top_up.cents > BALANCE_MAX => {
                Expected::Refused(400, "balance_limit_exceeded", json!({}))
            }
            Some(balance) => Expected::Made(json!({
                "amount": money(top_up.cents),
                "balance_after": money(balance + top_up.cents),
            })),
        }
    }

    /// A deposit was made.
    pub(super) fn deposited(&mut self, top_up: &TopUp, key: &str, seen: &Seen) {
        self.balances[top_up.user] += top_up.cents;
        let spent = Spent { meaning: *top_up, id: id_of(seen), receipt: seen.receipt.clone() };
        self.deposits.insert((top_up.user, key.to_owned()), spent);
    }
}
