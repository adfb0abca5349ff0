//! Placing an order: the good path, every refusal, their precedence, and limits. What a body
//! may hold is in `bodies`, what a key promises in `keys`, when a sale sells in `windows`.

pub(crate) mod bodies;
mod keys;
mod windows;

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::json;

use crate::support::Service;
use crate::support::api::{Api, new_key};

/// A user and a sale that nobody made.
pub(crate) const NOBODY: &str = "0190a000-0000-7000-8000-00000000ffff";

/// The database's time, moved: only its clock decides.
pub(crate) async fn moment(service: &Service, offset: TimeDelta) -> String {
    let mut session = service.database.session().await;
    let now: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(&mut session)
        .await
        .expect("the time");
    (now + offset).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Asks until the sale has this status.
pub(crate) async fn until_status(api: &Api, sale: &str, status: &str) {
    let asked = async {
        let path = format!("/api/sales/{sale}");
        while api.get(&path).await.expect(200).text("status") != status {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asked)
        .await
        .unwrap_or_else(|_| panic!("the sale never became {status}"));
}

#[tokio::test]
async fn an_order_moves_money_and_stock_once() {
    let service = Service::start().await;
    let (api, key) = (&service.api, new_key());
    let user = api.user("100.00").await;
    let sale = api.sale("49.90", 5).await;

    let body = json!({ "user_id": user, "sale_id": sale, "quantity": 2, "reference": "cart 7" });
    let made = api.post("/api/orders", &key, &body).await.expect(201);
    assert_eq!(made.text("total"), "99.80");
    assert_eq!(made.text("balance_after"), "0.20");
    assert_eq!(made.header("location"), Some(format!("/api/orders/{}", made.id()).as_str()));
    assert!(!made.replayed());

    let again = api.post("/api/orders", &format!("\"{key}\""), &body).await.expect(201);
    assert!(again.replayed());
    assert_eq!(again.bytes, made.bytes);
    assert_eq!(api.get(&format!("/api/orders/{}", made.id())).await.bytes, made.bytes);
    assert_eq!((api.stock(&sale).await, api.balance(&user).await.as_str()), (3, "0.20"));
    service.finish().await;
}

#[tokio::test]
async fn each_refusal_says_that_nothing_was_charged() {
    let service = Service::start().await;
    let api = &service.api;
    let (rich, poor) = (api.user("1000.00").await, api.user("5.00").await);
    let sale =
        api.sale_with(json!({ "unit_price": "10.00", "stock": 2, "per_user_limit": 3 })).await;
    let nobody = "0190a000-0000-7000-8000-00000000ffff";
    let place =
        |body: serde_json::Value| async move { api.post("/api/orders", &new_key(), &body).await };

    place(json!({ "user_id": rich, "sale_id": nobody })).await.refused(
        404,
        "sale_not_found",
        "no",
        "never",
    );
    place(json!({ "user_id": nobody, "sale_id": sale })).await.refused(
        404,
        "user_not_found",
        "no",
        "never",
    );
    let poor_reply = place(json!({ "user_id": poor, "sale_id": sale })).await;
    let poor_reply = poor_reply.refused(400, "insufficient_balance", "no", "same_key");
    assert_eq!(
        (poor_reply.text("balance"), poor_reply.text("total")),
        ("5.00".into(), "10.00".into())
    );
    let short = place(json!({ "user_id": rich, "sale_id": sale, "quantity": 3 })).await;
    assert_eq!(short.refused(400, "out_of_stock", "no", "same_key").body["stock"], 2);
    let limited = place(json!({ "user_id": rich, "sale_id": sale, "quantity": 4 })).await;
    let limited = limited.refused(400, "purchase_limit_reached", "no", "same_key");
    assert_eq!((&limited.body["limit"], &limited.body["bought"]), (&json!(3), &json!(0)));
    let late = json!({ "user_id": rich, "sale_id": sale, "valid_until": "2001-01-01T00:00:00Z" });
    place(late).await.refused(400, "order_expired", "no", "new_key");
    let upcoming =
        json!({ "unit_price": "1.00", "stock": 1, "starts_at": "2999-01-01T00:00:00+01:00" });
    let upcoming = api.sale_with(upcoming).await;
    let early = place(json!({ "user_id": rich, "sale_id": upcoming })).await;
    let early = early.refused(400, "sale_not_open", "no", "same_key");
    assert_eq!(early.text("starts_at"), "2998-12-31T23:00:00.000000Z");
    assert_eq!(api.stock(&sale).await, 2);
    service.finish().await;
}

/// Every obstacle at once, then one after the other is taken away; the key stays the same, since a
/// refusal leaves it free. Nobody's missing wallet stands behind limit and stock.
#[tokio::test]
async fn refusals_come_in_the_order_of_the_contract() {
    let service = Service::start().await;
    let (api, key) = (&service.api, new_key());
    let (rich, poor) = (api.user("20.00").await, api.user("19.99").await);
    let over = json!({
        "unit_price": "10.00", "stock": 0, "per_user_limit": 1,
        "starts_at": "2001-01-01T00:00:00Z", "ends_at": "2001-01-02T00:00:00Z",
    });
    let over = api.sale_with(over).await;
    let tight = json!({ "unit_price": "10.00", "stock": 0, "per_user_limit": 1 });
    let tight = api.sale_with(tight).await;
    let (scarce, open) = (api.sale("10.00", 1).await, api.sale("10.00", 2).await);
    let (nobody, late) = (NOBODY.to_owned(), "2001-01-01T00:00:00Z");
    let table = [
        (&nobody, &nobody, Some(late), 400, "order_expired", "new_key"),
        (&nobody, &nobody, None, 404, "sale_not_found", "never"),
        (&nobody, &over, None, 400, "sale_not_open", "same_key"),
        (&nobody, &tight, None, 400, "purchase_limit_reached", "same_key"),
        (&nobody, &scarce, None, 400, "out_of_stock", "same_key"),
        (&nobody, &open, None, 404, "user_not_found", "never"),
        (&poor, &open, None, 400, "insufficient_balance", "same_key"),
    ];
    for (user, sale, valid_until, status, code, retry) in table {
        let mut body = json!({ "user_id": user, "sale_id": sale, "quantity": 2 });
        if let Some(valid_until) = valid_until {
            body["valid_until"] = json!(valid_until);
        }
        let reply = api.post("/api/orders", &key, &body).await;
        reply.refused(status, code, "no", retry);
    }
    let body = json!({ "user_id": rich, "sale_id": open, "quantity": 2 });
    let made = api.post("/api/orders", &key, &body).await.expect(201);
    assert!(!made.replayed());
    assert_eq!((api.stock(&open).await, made.text("balance_after")), (0, "0.00".into()));
    service.finish().await;
}

#[tokio::test]
async fn a_limit_counts_units_over_all_orders_of_one_user() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, other) = (api.user("99.00").await, api.user("99.00").await);
    let sale = json!({ "unit_price": "1.00", "stock": 50, "per_user_limit": 5 });
    let sale = api.sale_with(sale).await;
    let buy = |user: String, units: u32| {
        let body = json!({ "user_id": user, "sale_id": sale, "quantity": units });
        async move { api.post("/api/orders", &new_key(), &body).await }
    };
    for (units, bought) in [(2, 0), (4, 2), (2, 2), (2, 4), (1, 4), (1, 5)] {
        let reply = buy(user.clone(), units).await;
        if units + bought <= 5 {
            reply.expect(201);
            continue;
        }
        let reply = reply.refused(400, "purchase_limit_reached", "no", "same_key");
        assert_eq!((&reply.body["limit"], &reply.body["bought"]), (&json!(5), &json!(bought)));
    }
    buy(other, 5).await.expect(201);
    assert_eq!((api.stock(&sale).await, api.balance(&user).await.as_str()), (40, "94.00"));
    service.finish().await;
}

#[tokio::test]
async fn what_costs_nothing_is_sold_to_an_empty_wallet() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, sale) = (api.user("0.00").await, api.sale("0.00", 3).await);
    let body = json!({ "user_id": user, "sale_id": sale, "quantity": 3 });
    let made = api.post("/api/orders", &new_key(), &body).await.expect(201);
    assert_eq!((made.text("total"), made.text("balance_after")), ("0.00".into(), "0.00".into()));
    let entries = api.get(&format!("/api/users/{user}/wallet/entries")).await.expect(200);
    let entry = &entries.body["items"][0];
    assert_eq!((&entry["type"], &entry["amount"]), (&json!("order"), &json!("0.00")));
    assert_eq!(entry["order_id"], json!(made.id()));
    let none = api.buy(&new_key(), &user, &sale).await;
    none.refused(400, "out_of_stock", "no", "same_key");
    service.finish().await;
}

#[tokio::test]
async fn the_largest_order_of_the_dearest_item_is_named_exactly() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, sale) = (api.user("99999999999.99").await, api.sale("99999999999.99", 200).await);
    let body = json!({ "user_id": user, "sale_id": sale, "quantity": 100 });
    let dear = api.post("/api/orders", &new_key(), &body).await;
    let dear = dear.refused(400, "insufficient_balance", "no", "same_key");
    assert_eq!(dear.text("total"), "9999999999999.00");
    let made = api.buy(&new_key(), &user, &sale).await.expect(201);
    assert_eq!(made.text("balance_after"), "0.00");
    service.finish().await;
}
