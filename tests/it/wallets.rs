//! Wallets: deposits once per key, and a ledger that explains every balance.

use http::Method;
use serde_json::{Value, json};

use crate::orders::bodies::faulty_fields;
use crate::support::Service;
use crate::support::api::{Api, new_key};

fn deposits(user: &str) -> String {
    format!("/api/users/{user}/wallet/deposits")
}

async fn entries(api: &Api, user: &str) -> Vec<Value> {
    let list = api.get(&format!("/api/users/{user}/wallet/entries?limit=200")).await.expect(200);
    list.body["items"].as_array().expect("items").clone()
}

/// Cents of an amount with a sign.
fn cents(value: &Value) -> i64 {
    let text = value.as_str().expect("an amount").replace('.', "");
    text.parse().expect("digits")
}

#[tokio::test]
async fn a_deposit_is_made_once_per_key() {
    let service = Service::start().await;
    let (api, key) = (&service.api, new_key());
    let (ada, bob) = (api.user("5.00").await, api.user("0.00").await);
    let body = json!({ "amount": "20.00", "reference": "voucher 1" });
    let made = api.post(&deposits(&ada), &key, &body).await.expect(201);
    assert_eq!((made.text("type"), made.text("amount")), ("deposit".into(), "20.00".into()));
    assert_eq!(
        (made.text("balance_after"), made.text("reference")),
        ("25.00".into(), "voucher 1".into())
    );
    assert!(made.body["order_id"].is_null());
    let location = format!("/api/users/{ada}/wallet/entries");
    assert_eq!(made.header("location"), Some(location.as_str()));
    // A replay is the first answer, also behind other movements.
    api.post(&deposits(&ada), &new_key(), &json!({ "amount": "0.01" })).await.expect(201);
    for spelling in [key.clone(), format!("\"{key}\"")] {
        let again = api.post(&deposits(&ada), &spelling, &body).await.expect(201);
        assert!(again.replayed() && again.bytes == made.bytes);
    }
    for (name, value) in [("amount", json!("20.01")), ("reference", json!("voucher 2"))] {
        let mut other = body.clone();
        other[name] = value;
        let reply = api.post(&deposits(&ada), &key, &other).await;
        let reply = reply.refused(422, "idempotency_key_reused", "yes", "new_key");
        assert!(reply.body["order_id"].is_null(), "it made no order");
    }
    // The key belongs to the user in the path.
    let theirs = api.post(&deposits(&bob), &key, &body).await.expect(201);
    assert!(!theirs.replayed());
    assert_eq!(
        (api.balance(&ada).await, api.balance(&bob).await),
        ("25.01".into(), "20.00".into())
    );
    service.finish().await;
}

#[tokio::test]
async fn a_bad_deposit_is_refused_by_name() {
    let service = Service::start().await;
    let api = &service.api;
    let user = api.user("5.00").await;
    let amounts = [
        json!(20),
        json!(20.00),
        json!(null),
        json!(true),
        json!(["20.00"]),
        json!(""),
        json!("0.00"),
        json!("20"),
        json!("20.0"),
        json!("20.000"),
        json!("020.00"),
        json!("-20.00"),
        json!("+20.00"),
        json!("-0.00"),
        json!("2e1"),
        json!("20,00"),
        json!(" 20.00"),
        json!("1_000.00"),
        json!("100000000000.00"),
        json!("NaN"),
        json!("\u{ff12}0.00"),
        json!("20.00\u{0}"),
    ];
    for amount in amounts {
        let body = json!({ "amount": amount });
        let reply = api.post(&deposits(&user), &new_key(), &body).await;
        let reply = reply.refused(400, "validation_failed", "no", "never");
        assert_eq!(faulty_fields(&reply), ["amount"], "{body}");
    }
    let table: [(&str, &[&str]); 6] = [
        ("{}", &["amount"]),
        ("[\"20.00\"]", &["body"]),
        (r#"{"amount":"20.00","amount":"20.00"}"#, &["amount"]),
        (r#"{"amount":"20.00","reference":""}"#, &["reference"]),
        (r#"{"amount":"20.00","reference":"a\u0000"}"#, &["reference"]),
        (r#"{"amount":"20.00","note":"x"}"#, &["note"]),
    ];
    for (body, fields) in table {
        let reply = api.post_raw(&deposits(&user), &new_key(), body).await;
        let reply = reply.refused(400, "validation_failed", "no", "never");
        assert_eq!(faulty_fields(&reply), fields, "{body}");
    }
    let good = json!({ "amount": "20.00" });
    let keyless = api.try_write(Method::POST, &deposits(&user), None, &good).await;
    let keyless = keyless.expect("an answer");
    keyless.refused(400, "idempotency_key_missing", "no", "never");
    let spaced = api.post(&deposits(&user), "a b", &good).await;
    spaced.refused(400, "idempotency_key_invalid", "no", "never");
    assert_eq!(api.balance(&user).await, "5.00");
    service.finish().await;
}

#[tokio::test]
async fn a_wallet_is_filled_to_the_last_cent_and_not_beyond() {
    let service = Service::start().await;
    let (api, key) = (&service.api, new_key());
    let user = api.user("99999999999.97").await;
    let deposit = |amount: &'static str| {
        let (path, key) = (deposits(&user), key.clone());
        async move { api.post(&path, &key, &json!({ "amount": amount })).await }
    };
    for amount in ["0.03", "99999999999.99"] {
        let reply = deposit(amount).await;
        reply.refused(400, "balance_limit_exceeded", "no", "never");
    }
    // The refusals left the key free.
    let made = deposit("0.02").await.expect(201);
    assert_eq!(made.text("balance_after"), "99999999999.99");
    let full = api.post(&deposits(&user), &new_key(), &json!({ "amount": "0.01" })).await;
    full.refused(400, "balance_limit_exceeded", "no", "never");
    assert!(deposit("0.02").await.expect(201).replayed());
    service.finish().await;
}

#[tokio::test]
async fn entries_explain_the_balance_newest_first() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, sale) = (api.user("10.00").await, api.sale("1.50", 100).await);
    let before = api.get(&format!("/api/users/{user}/wallet")).await.expect(200);
    assert_eq!(before.text("user_id"), user);
    for step in 0..6 {
        if step % 2 == 0 {
            let amount = json!({ "amount": format!("0.{step}1"), "reference": format!("d{step}") });
            api.post(&deposits(&user), &new_key(), &amount).await.expect(201);
        } else {
            let body = json!({ "user_id": user, "sale_id": sale, "reference": format!("o{step}") });
            api.post("/api/orders", &new_key(), &body).await.expect(201);
        }
    }
    let items = entries(api, &user).await;
    let references: Vec<_> = items.iter().map(|item| item["reference"].clone()).collect();
    let wanted = ["o5", "d4", "o3", "d2", "o1", "d0"].map(Value::from);
    assert_eq!(references[..6], wanted);
    assert_eq!((items.len(), &items[6]["amount"]), (7, &json!("10.00")));
    for pair in items.windows(2) {
        let (newer, older) = (&pair[0], &pair[1]);
        let sum = cents(&older["balance_after"]) + cents(&newer["amount"]);
        assert_eq!(cents(&newer["balance_after"]), sum, "{pair:?}");
        assert!(newer["created_at"].as_str() >= older["created_at"].as_str(), "{pair:?}");
    }
    for item in &items {
        let is_order = item["type"] == "order";
        assert_eq!(is_order, cents(&item["amount"]) < 0, "{item}");
        assert_eq!(is_order, !item["order_id"].is_null(), "{item}");
        if let Some(order) = item["order_id"].as_str() {
            let order = api.get(&format!("/api/orders/{order}")).await.expect(200);
            assert_eq!(format!("-{}", order.text("total")), item["amount"].as_str().unwrap_or(""));
            assert_eq!(order.body["balance_after"], item["balance_after"]);
        }
    }
    let after = api.get(&format!("/api/users/{user}/wallet")).await.expect(200);
    assert_eq!(after.body["balance"], items[0]["balance_after"]);
    assert_eq!(after.body["updated_at"], items[0]["created_at"]);
    assert!(after.text("updated_at") > before.text("updated_at"));
    service.finish().await;
}

#[tokio::test]
async fn an_installation_has_one_currency_and_says_it_everywhere() {
    let service = Service::start_with(|raw| raw.currency = Some("EUR".to_owned())).await;
    let api = &service.api;
    let (user, sale) = (api.user("10.00").await, api.sale("1.50", 100).await);
    let order = api.buy(&new_key(), &user, &sale).await.expect(201);
    let wallet = api.get(&format!("/api/users/{user}/wallet")).await;
    let item = api.get(&format!("/api/sales/{sale}")).await;
    for reply in [order, wallet, item] {
        assert_eq!(reply.text("currency"), "EUR");
    }
    service.finish().await;
}
