//! Placing an order: the good path, every refusal, precedence, and what a key promises.

use serde_json::json;

use crate::support::Service;
use crate::support::api::new_key;

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
