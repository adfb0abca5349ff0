//! `flashdeal report`: the figures of one sale are those of its orders; its books are looked at.

use flashdeal::domain::money::Money;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{ended, execute, on, refused};
use crate::support::api::{Api, new_key};
use crate::support::postgres::TestDatabase;
use crate::support::process::ServeProcess;
use crate::support::service::assert_balanced;

/// A service and what was sold by it: two buyers, five of five units, two refusals.
struct Sold {
    process: ServeProcess,
    sale: String,
    orders: Vec<Value>,
}

impl Sold {
    async fn on(database: &TestDatabase) -> Sold {
        let mut environment = on(database);
        environment.push(("FLASHDEAL_LOG", "off"));
        let process = ServeProcess::start(&environment).await;
        let api = &process.api;
        let (rich, other) = (api.user("1000.00").await, api.user("100.00").await);
        let sale = api.sale_with(json!({ "name": "Lamp", "unit_price": "9.90", "stock": 5 })).await;
        let mut orders = Vec::new();
        for (user, quantity) in [(&rich, 2), (&other, 1), (&rich, 2)] {
            orders.push(buy(api, user, &sale, quantity).await.expect(201).body);
        }
        for user in [&rich, &other] {
            let refused = buy(api, user, &sale, 1).await;
            refused.refused(400, "out_of_stock", "no", "same_key");
        }
        // Another sale, which is not to be mixed up with the first.
        let second = api.sale("1.00", 10).await;
        buy(api, &rich, &second, 3).await.expect(201);
        Sold { process, sale, orders }
    }

    async fn stop(self) {
        self.process.signal(Signal::SIGTERM);
        assert_eq!(self.process.exit().await, Some(0));
    }
}

async fn buy(api: &Api, user: &str, sale: &str, quantity: u32) -> crate::support::api::Reply {
    let body = json!({ "user_id": user, "sale_id": sale, "quantity": quantity });
    api.post("/api/orders", &new_key(), &body).await
}

async fn report(database: &TestDatabase, sale: &str, more: &[&str], code: i32) -> Value {
    let arguments = [&["report", "--sale", sale, "--json"], more].concat();
    let (text, said) = ended(&arguments, &on(database), code).await;
    assert_eq!(said, "", "nothing but the report");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test]
async fn the_figures_are_those_of_the_orders() {
    let database = TestDatabase::create().await;
    let sold = Sold::on(&database).await;
    let found = report(&database, &sold.sale, &[], 0).await;
    let totals = sold.orders.iter().map(|order| order["total"].as_str().expect("money"));
    let revenue = totals.map(|total| Money::parse(total).expect("money"));
    let revenue = revenue.fold(Money::ZERO, |sum, total| sum.plus(total).expect("a sum"));
    let expected = json!({
        "sale_id": sold.sale, "name": "Lamp", "currency": "USD", "unit_price": "9.90",
        "stock_initial": 5, "stock": 0, "orders": 3, "units": 5, "buyers": 2,
        "revenue": revenue.to_string(),
        "first_order_at": sold.orders[0]["created_at"],
        "last_order_at": sold.orders[2]["created_at"],
        "sold_out_at": sold.orders[2]["created_at"],
        "books": { "balanced": true, "discrepancies": [] },
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&found[name], value, "{name} in {found}");
    }
    // The peak is the fullest of the seconds that the orders fell into.
    let second = |order: &Value| order["created_at"].as_str().expect("a time")[..19].to_owned();
    let in_second = |at: &str| sold.orders.iter().filter(|order| second(order) == at).count();
    let fullest = sold.orders.iter().map(|order| in_second(&second(order))).max();
    let peak = found["peak"]["second"].as_str().expect("a time");
    assert!(peak.ends_with(".000000Z"), "{found}");
    assert_eq!(found["peak"]["orders"].as_u64().map(|n| n as usize), fullest, "{found}");
    assert_eq!(Some(in_second(&peak[..19])), fullest, "{found}");
    assert_eq!(found["refusals"]["known"], false, "{found}");

    let (text, _) = ended(&["report", "--sale", &sold.sale], &on(&database), 0).await;
    for line in [
        format!("sale          Lamp ({})", sold.sale),
        "sold          5 of 5 units, 0 left".to_owned(),
        "orders        3 by 2 buyers".to_owned(),
        "revenue       49.50 USD at 9.90 each".to_owned(),
        "refusals      not known: name a running service with --metrics-url".to_owned(),
        "books         balanced".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    sold.stop().await;
    assert_balanced(&database).await;
}

#[tokio::test]
async fn refusals_are_those_of_the_running_service() {
    let database = TestDatabase::create().await;
    let sold = Sold::on(&database).await;
    let page = format!("http://{}/metrics", sold.process.api.address());
    let found = report(&database, &sold.sale, &["--metrics-url", &page], 0).await;
    let expected = json!({
        "known": true,
        "scope": "the whole service since its start, all sales together",
        "by_code": { "out_of_stock": 2 },
    });
    assert_eq!(found["refusals"], expected, "{found}");
    let arguments = ["report", "--sale", &sold.sale, "--metrics-url", &page];
    let (text, _) = ended(&arguments, &on(&database), 0).await;
    let line = "refusals      2 out_of_stock (the whole service since its start, all sales";
    assert!(text.contains(line), "{text}");
    sold.process.signal(Signal::SIGTERM);
    assert_eq!(sold.process.exit().await, Some(0));

    // Whoever is gone is not known, and the rest of the report stands.
    for (url, reason) in [(page.as_str(), "no connection"), ("https://h/metrics", "accepted is")] {
        let found = report(&database, &sold.sale, &["--metrics-url", url], 0).await;
        let said = found["refusals"]["reason"].as_str().unwrap_or_default();
        assert!(said.contains(reason) && said.contains(url), "{said}");
    }
    assert_balanced(&database).await;
}

/// An order changed behind its guard.
fn rewritten(order: &str, change: &str) -> String {
    format!(
        "ALTER TABLE orders DISABLE TRIGGER orders_stay;
         UPDATE orders SET {change} WHERE id = '{order}';
         ALTER TABLE orders ENABLE TRIGGER orders_stay"
    )
}

#[tokio::test]
async fn books_that_are_off_are_named_for_this_sale_only() {
    let database = TestDatabase::create().await;
    let sold = Sold::on(&database).await;
    let other = sold.process.api.sale("1.00", 10).await;
    let order = sold.orders[0]["id"].as_str().expect("an id").to_owned();
    let sale = sold.sale.clone();
    sold.stop().await;
    let keys = format!("idempotency_keys WHERE resource_id = '{order}'");
    let damages = [
        (
            "stock_conserved",
            format!("UPDATE sales SET stock = stock + 1 WHERE id = '{sale}'"),
            format!("UPDATE sales SET stock = stock - 1 WHERE id = '{sale}'"),
        ),
        (
            "sequence_unbroken",
            format!("UPDATE sales SET order_count = 4 WHERE id = '{sale}'"),
            format!("UPDATE sales SET order_count = 3 WHERE id = '{sale}'"),
        ),
        (
            "limit_kept",
            format!("UPDATE sales SET per_user_limit = 3 WHERE id = '{sale}'"),
            format!("UPDATE sales SET per_user_limit = NULL WHERE id = '{sale}'"),
        ),
        (
            "order_paid",
            rewritten(&order, "balance_after = balance_after + 1"),
            rewritten(&order, "balance_after = balance_after - 1"),
        ),
        ("order_paid", rewritten(&order, "reference = 'x'"), rewritten(&order, "reference = NULL")),
        (
            "order_paid",
            rewritten(&order, "created_at = created_at + interval '1us'"),
            rewritten(&order, "created_at = created_at - interval '1us'"),
        ),
        (
            "price_kept",
            format!("UPDATE sales SET unit_price = 9.80 WHERE id = '{sale}'"),
            format!("UPDATE sales SET unit_price = 9.90 WHERE id = '{sale}'"),
        ),
        (
            "window_kept",
            format!("UPDATE sales SET starts_at = starts_at + interval '1h' WHERE id = '{sale}'"),
            format!("UPDATE sales SET starts_at = starts_at - interval '1h' WHERE id = '{sale}'"),
        ),
        (
            "one_order_per_key",
            format!("CREATE TABLE kept AS SELECT * FROM {keys}; DELETE FROM {keys}"),
            "INSERT INTO idempotency_keys SELECT * FROM kept".to_owned(),
        ),
    ];
    for (law, done, undone) in &damages {
        execute(&database, done).await;
        let found = report(&database, &sale, &[], 1).await;
        let named = &found["books"]["discrepancies"];
        assert_eq!(found["books"]["balanced"], false, "{law}: {found}");
        let all: Vec<&Value> =
            named.as_array().expect("a list").iter().map(|d| &d["law"]).collect();
        assert!(!all.is_empty() && all.iter().all(|found| *found == law), "{law}: {named}");
        let (text, _) = ended(&["report", "--sale", &sale], &on(&database), 1).await;
        assert!(text.contains("books         not balanced") && text.contains(law), "{text}");
        assert_eq!(report(&database, &other, &[], 0).await["books"]["balanced"], true);
        execute(&database, undone).await;
        report(&database, &sale, &[], 0).await;
    }
    assert_balanced(&database).await;
}

#[tokio::test]
async fn a_sale_that_is_none_is_refused() {
    let database = TestDatabase::create().await;
    ended(&["migrate"], &on(&database), 0).await;
    let nobody = super::user_id(1);
    let said = refused(&["report", "--sale", &nobody], &on(&database), 1).await;
    assert!(said.contains(&format!("no sale has the id {nobody}")), "{said}");
    let said = refused(&["report", "--sale", "seven"], &on(&database), 2).await;
    assert!(said.contains("--sale seven: is no UUID"), "{said}");
    ended(&["report"], &on(&database), 2).await;
}
