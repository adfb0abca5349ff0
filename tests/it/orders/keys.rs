//! What an order's key promises: its forms, its scope, and when it is spent.

use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::{Value, json};

use crate::support::Service;
use crate::support::api::{Api, Reply, new_key};

/// Places an order with these header lines of keys, as they stand.
async fn order_with(api: &Api, keys: &[&[u8]], body: &Value) -> Reply {
    let mut builder =
        api.request(Method::POST, "/api/orders").header("content-type", "application/json");
    for key in keys {
        let line = HeaderValue::from_bytes(key).expect("a header line");
        builder = builder.header("idempotency-key", line);
    }
    let request = builder.body(Bytes::from(body.to_string()));
    api.send(request.expect("a request")).await.expect("an answer")
}

#[tokio::test]
async fn what_is_not_one_key_is_refused() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, sale) = (api.user("9.00").await, api.sale("1.00", 9).await);
    let body = json!({ "user_id": user, "sale_id": sale });
    let missing = order_with(api, &[], &body).await;
    missing.refused(400, "idempotency_key_missing", "no", "never");
    let too_long = [b'k'; 256];
    let bad: [&[&[u8]]; 12] = [
        &[b""],
        &[b"\"\""],
        &[b"a b"],
        &[b"a\tb"],
        &[b"a, b"],
        &[b"\"a"],
        &[b"\"a\"b\""],
        &[b"\"a\\x\""],
        &[b"sch\xc3\xb6n"],
        &[&too_long],
        &[b"a", b"a"],
        &[b"a", b""],
    ];
    for keys in bad {
        let reply = order_with(api, keys, &body).await;
        reply.refused(400, "idempotency_key_invalid", "no", "never");
    }
    assert_eq!(api.stock(&sale).await, 9);
    service.finish().await;
}

#[tokio::test]
async fn bare_and_quoted_forms_name_one_key() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, sale) = (api.user("9.00").await, api.sale("1.00", 9).await);
    let body = json!({ "user_id": user, "sale_id": sale });
    let longest = "k".repeat(255);
    let quoted = format!("\"{longest}\"");
    let pairs: [(&[u8], &[u8]); 4] = [
        (b"!", b"\"!\""),
        (b"a\"b\\c", b"\"a\\\"b\\\\c\""),
        (b" padded ", b"padded"),
        (longest.as_bytes(), quoted.as_bytes()),
    ];
    for (bare, quoted) in pairs {
        let made = order_with(api, &[bare], &body).await.expect(201);
        let again = order_with(api, &[quoted], &body).await.expect(201);
        assert!(!made.replayed() && again.replayed(), "{made:?} {again:?}");
        assert_eq!(made.bytes, again.bytes);
    }
    // Case matters: these are two decisions.
    let upper = order_with(api, &[b"PADDED"], &body).await.expect(201);
    assert!(!upper.replayed());
    assert_eq!(api.stock(&sale).await, 4);
    service.finish().await;
}

#[tokio::test]
async fn a_spent_key_refuses_every_other_meaning_and_names_its_order() {
    let service = Service::start().await;
    let (api, key) = (&service.api, new_key());
    let (user, sale) = (api.user("9.00").await, api.sale("1.00", 9).await);
    let other_sale = api.sale("1.00", 9).await;
    let body = json!({ "user_id": user, "sale_id": sale, "reference": "a" });
    let made = api.post("/api/orders", &key, &body).await.expect(201);
    let others = [
        ("quantity", json!(2)),
        ("reference", json!("b")),
        ("sale_id", json!(other_sale)),
        ("sale_id", json!(super::NOBODY)),
        ("valid_until", json!("2099-01-01T00:00:00Z")),
        ("valid_until", json!("2001-01-01T00:00:00Z")),
        ("quantity", json!(100)),
    ];
    for (name, value) in others {
        let mut other = body.clone();
        other[name] = value;
        let reply = api.post("/api/orders", &key, &other).await;
        let reply = reply.refused(422, "idempotency_key_reused", "yes", "new_key");
        assert_eq!(reply.text("order_id"), made.id(), "{other}");
    }
    let bare = api.buy(&key, &user, &sale).await;
    bare.refused(422, "idempotency_key_reused", "yes", "new_key");
    assert_eq!((api.stock(&sale).await, api.stock(&other_sale).await), (8, 9));
    let again = api.post("/api/orders", &key, &body).await.expect(201);
    assert!(again.replayed() && again.bytes == made.bytes);
    service.finish().await;
}

#[tokio::test]
async fn a_refusal_leaves_the_key_free_for_another_body() {
    let service = Service::start().await;
    let (api, key) = (&service.api, new_key());
    let (user, sale) = (api.user("2.00").await, api.sale("1.00", 3).await);
    let place = |quantity: u32| {
        let body = json!({ "user_id": user, "sale_id": sale, "quantity": quantity });
        let key = key.clone();
        async move { api.post("/api/orders", &key, &body).await }
    };
    place(4).await.refused(400, "out_of_stock", "no", "same_key");
    place(3).await.refused(400, "insufficient_balance", "no", "same_key");
    let asked = format!("/api/orders?user_id={user}&idempotency_key={key}");
    assert_eq!(api.get(&asked).await.expect(200).body["items"], json!([]));
    let made = place(2).await.expect(201);
    assert!(!made.replayed());
    place(3).await.refused(422, "idempotency_key_reused", "yes", "new_key");
    let found = api.get(&asked).await.expect(200);
    assert_eq!(found.body, json!({ "items": [made.body] }));
    service.finish().await;
}

/// An attempt that would be too late today is still the order that it made.
#[tokio::test]
async fn a_key_that_made_an_order_replays_it_behind_its_valid_until() {
    let service = Service::start().await;
    let (api, key) = (&service.api, new_key());
    let (user, sale) = (api.user("9.00").await, api.sale("1.00", 9).await);
    let soon = super::moment(&service, chrono::TimeDelta::milliseconds(2_500)).await;
    let body = json!({ "user_id": user, "sale_id": sale, "valid_until": soon });
    let made = api.post("/api/orders", &key, &body).await.expect(201);
    let late = async {
        // A key of its own for each look: one of them is the first that comes too late.
        while api.post("/api/orders", &new_key(), &body).await.status != 400 {
            tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        }
    };
    let limit = std::time::Duration::from_secs(30);
    tokio::time::timeout(limit, late).await.expect("an end of the attempt");
    let again = api.post("/api/orders", &key, &body).await.expect(201);
    assert!(again.replayed() && again.bytes == made.bytes);
    let stale = api.post("/api/orders", &new_key(), &body).await;
    stale.refused(400, "order_expired", "no", "new_key");
    service.finish().await;
}

#[tokio::test]
async fn keys_of_other_users_and_operations_never_meet() {
    let service = Service::start().await;
    let (api, key) = (&service.api, new_key());
    let (ada, bob) = (api.user("9.00").await, api.user("9.00").await);
    let sale = api.sale("1.00", 9).await;
    let ours = api.buy(&key, &ada, &sale).await.expect(201);
    let theirs = api.buy(&key, &bob, &sale).await.expect(201);
    assert!(!theirs.replayed() && ours.id() != theirs.id());
    let deposits = format!("/api/users/{ada}/wallet/deposits");
    let amount = json!({ "amount": "1.00" });
    assert!(!api.post(&deposits, &key, &amount).await.expect(201).replayed());
    assert!(!api.post("/api/users", &key, &json!({})).await.expect(201).replayed());
    let item = json!({ "name": "lamp", "unit_price": "1.00", "stock": 1 });
    assert!(!api.post("/api/sales", &key, &item).await.expect(201).replayed());
    let again = api.buy(&key, &ada, &sale).await.expect(201);
    assert!(again.replayed() && again.bytes == ours.bytes);
    assert_eq!(api.balance(&ada).await, "9.00");
    service.finish().await;
}
