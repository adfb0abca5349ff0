//! Sales: made once per key, and what their status says from before the start to behind the end.

use chrono::TimeDelta;
use http::Method;
use serde_json::{Value, json};

use crate::orders::bodies::faulty_fields;
use crate::orders::moment;
use crate::support::Service;
use crate::support::api::{Api, new_key};

/// A sale that is well-formed, with members changed; `null` takes one away.
fn sale_with(changes: Value) -> Value {
    let mut sale = json!({ "name": "lamp", "unit_price": "1.00", "stock": 5 });
    for (name, value) in changes.as_object().expect("members") {
        match value {
            Value::Null => drop(sale.as_object_mut().map(|members| members.remove(name))),
            value => sale[name] = value.clone(),
        }
    }
    sale
}

#[tokio::test]
async fn a_sale_comes_back_as_it_was_made() {
    let service = Service::start().await;
    let api = &service.api;
    let full = json!({
        "name": "Lampe „Komet“", "sku": "COMET-1", "unit_price": "89.00", "stock": 1_000_000_000,
        "per_user_limit": 1_000_000, "starts_at": "2099-12-31T19:00:00.1234567+01:00",
        "ends_at": "2099-12-31T18:00:00.123457Z",
    });
    let made = api.post("/api/sales", &new_key(), &full).await.expect(201);
    for name in ["name", "sku", "unit_price", "stock", "per_user_limit"] {
        assert_eq!(made.body[name], full[name]);
    }
    assert_eq!(made.body["stock_initial"], full["stock"]);
    assert_eq!(made.text("starts_at"), "2099-12-31T18:00:00.123456Z");
    assert_eq!(made.text("ends_at"), "2099-12-31T18:00:00.123457Z");
    assert_eq!(made.text("status"), "upcoming");
    let path = format!("/api/sales/{}", made.id());
    assert_eq!(made.header("location"), Some(path.as_str()));
    assert_eq!(api.get(&path).await.expect(200).bytes, made.bytes);
    assert_eq!(api.get(&format!("{path}/")).await.expect(200).bytes, made.bytes);
    let bare = api.post("/api/sales", &new_key(), &sale_with(json!({}))).await.expect(201);
    assert_eq!(
        (bare.text("status"), bare.text("starts_at")),
        ("live".into(), bare.text("created_at"))
    );
    for name in ["sku", "per_user_limit", "ends_at", "sold_out_at"] {
        assert!(bare.body.get(name).is_none(), "{name}");
    }
    service.finish().await;
}

/// What bad bodies name; nothing came of them.
async fn refuse_all(table: &[(Value, &[&str])]) {
    let service = Service::start().await;
    let api = &service.api;
    for (body, fields) in table {
        let reply = api.post("/api/sales", &new_key(), body).await;
        let reply = reply.refused(400, "validation_failed", "no", "never");
        assert_eq!(faulty_fields(&reply), *fields, "{body}");
    }
    assert_eq!(api.get("/api/sales").await.body, json!({ "items": [] }));
    service.finish().await;
}

#[tokio::test]
async fn a_sale_with_a_bad_text_or_price_is_refused_by_name() {
    refuse_all(&[
        (json!([]), &["body"]),
        (json!({}), &["name", "unit_price", "stock"]),
        (sale_with(json!({ "name": "" })), &["name"]),
        (sale_with(json!({ "name": 7 })), &["name"]),
        (sale_with(json!({ "name": "a\u{0}b" })), &["name"]),
        (sale_with(json!({ "name": "x".repeat(201) })), &["name"]),
        (sale_with(json!({ "sku": "" })), &["sku"]),
        (sale_with(json!({ "sku": "a\tb" })), &["sku"]),
        (sale_with(json!({ "unit_price": 1 })), &["unit_price"]),
        (sale_with(json!({ "unit_price": 1.0 })), &["unit_price"]),
        (sale_with(json!({ "unit_price": "1" })), &["unit_price"]),
        (sale_with(json!({ "unit_price": "-1.00" })), &["unit_price"]),
        (sale_with(json!({ "unit_price": "100000000000.00" })), &["unit_price"]),
        (sale_with(json!({ "status": "live", "price": "1.00" })), &["price", "status"]),
    ])
    .await;
}

#[tokio::test]
async fn a_sale_with_a_bad_number_is_refused_by_name() {
    refuse_all(&[
        (sale_with(json!({ "stock": "5" })), &["stock"]),
        (sale_with(json!({ "stock": -1 })), &["stock"]),
        (sale_with(json!({ "stock": 1.5 })), &["stock"]),
        (sale_with(json!({ "stock": 1_000_000_001u64 })), &["stock"]),
        (sale_with(json!({ "stock": 4_294_967_297u64 })), &["stock"]),
        (sale_with(json!({ "per_user_limit": 0 })), &["per_user_limit"]),
        (sale_with(json!({ "per_user_limit": 1_000_001 })), &["per_user_limit"]),
        (sale_with(json!({ "per_user_limit": "1" })), &["per_user_limit"]),
    ])
    .await;
}

#[tokio::test]
async fn a_sale_with_a_bad_window_is_refused_by_name() {
    let from = "2099-01-01T00:00:00Z";
    let until = |end: &str| sale_with(json!({ "starts_at": from, "ends_at": end }));
    refuse_all(&[
        (sale_with(json!({ "starts_at": "soon" })), &["starts_at"]),
        (sale_with(json!({ "starts_at": 4_070_908_800u64 })), &["starts_at"]),
        (sale_with(json!({ "starts_at": "1969-12-31T23:59:59Z" })), &["starts_at"]),
        (sale_with(json!({ "ends_at": "2099-01-01" })), &["ends_at"]),
        (until(from), &["ends_at"]),
        // The same moment elsewhere; the same microsecond; and one that is earlier.
        (until("2099-01-01T01:00:00+01:00"), &["ends_at"]),
        (until("2099-01-01T00:00:00.0000009Z"), &["ends_at"]),
        (until("2098-12-31T23:59:59Z"), &["ends_at"]),
        // Without a start it would begin now.
        (sale_with(json!({ "ends_at": "2001-01-01T00:00:00Z" })), &["ends_at"]),
    ])
    .await;
}

#[tokio::test]
async fn a_key_makes_one_sale_and_replays_it_as_it_was_made() {
    let service = Service::start().await;
    let (api, key) = (&service.api, new_key());
    let body = sale_with(json!({ "stock": 2 }));
    let made = api.post("/api/sales", &key, &body).await.expect(201);
    let user = api.user("9.00").await;
    for _ in 0..2 {
        api.buy(&new_key(), &user, &made.id()).await.expect(201);
        let again = api.post("/api/sales", &key, &body).await.expect(201);
        assert!(again.replayed());
        assert_eq!(again.bytes, made.bytes, "as it was made, whatever was sold");
    }
    assert_eq!(api.stock(&made.id()).await, 0);
    let spelled = sale_with(json!({ "stock": 2.0 }));
    assert!(api.post("/api/sales", &key, &spelled).await.expect(201).replayed());
    let changes = [
        json!({ "stock": 3 }),
        json!({ "name": "Lamp" }),
        json!({ "unit_price": "1.01" }),
        json!({ "sku": "x" }),
        json!({ "per_user_limit": 2 }),
        json!({ "starts_at": made.text("starts_at") }),
        json!({ "ends_at": "2099-01-01T00:00:00Z" }),
    ];
    for change in changes {
        let mut other = sale_with(json!({ "stock": 2 }));
        for (name, value) in change.as_object().expect("members") {
            other[name] = value.clone();
        }
        let reply = api.post("/api/sales", &key, &other).await;
        reply.refused(422, "idempotency_key_reused", "yes", "new_key");
    }
    // Without a key each request is a sale of its own.
    let keyless = || api.try_write(Method::POST, "/api/sales", None, &body);
    let ids = (keyless().await.expect("an answer"), keyless().await.expect("an answer"));
    assert_ne!(ids.0.expect(201).id(), ids.1.expect(201).id());
    // A sale that was upcoming when it was made is so in every replay.
    let key = new_key();
    let soon = json!({ "starts_at": moment(&service, TimeDelta::milliseconds(1_500)).await });
    let upcoming = api.post("/api/sales", &key, &sale_with(soon.clone())).await.expect(201);
    assert_eq!(upcoming.text("status"), "upcoming");
    crate::orders::until_status(api, &upcoming.id(), "live").await;
    let again = api.post("/api/sales", &key, &sale_with(soon)).await.expect(201);
    assert_eq!(again.bytes, upcoming.bytes);
    service.finish().await;
}

/// The ids of a filtered list.
async fn listed(api: &Api, status: &str) -> Vec<String> {
    let list = api.get(&format!("/api/sales?status={status}")).await.expect(200);
    let items = list.body["items"].as_array().expect("items").clone();
    for item in &items {
        assert_eq!(item["status"], status);
    }
    items.iter().filter_map(|item| item["id"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_sale_is_upcoming_live_sold_out_or_ended() {
    let service = Service::start().await;
    let api = &service.api;
    let user = api.user("9.00").await;
    let over = json!({ "starts_at": "2001-01-01T00:00:00Z", "ends_at": "2002-01-01T00:00:00Z" });
    let mut empty_over = over.clone();
    empty_over["stock"] = json!(0);
    let bought = api.sale_with(sale_with(json!({ "stock": 1 }))).await;
    let order = api.buy(&new_key(), &user, &bought).await.expect(201);
    let table = [
        (
            api.sale_with(sale_with(json!({ "starts_at": "2099-01-01T00:00:00Z" }))).await,
            "upcoming",
        ),
        (
            api.sale_with(sale_with(json!({ "starts_at": "2099-01-01T00:00:00Z", "stock": 0 })))
                .await,
            "upcoming",
        ),
        (api.sale_with(sale_with(json!({}))).await, "live"),
        (api.sale_with(sale_with(json!({ "ends_at": "2099-01-01T00:00:00Z" }))).await, "live"),
        (api.sale_with(sale_with(json!({ "stock": 0 }))).await, "sold_out"),
        (bought.clone(), "sold_out"),
        (api.sale_with(sale_with(over)).await, "ended"),
        (api.sale_with(sale_with(empty_over)).await, "ended"),
    ];
    for (sale, status) in &table {
        let found = api.get(&format!("/api/sales/{sale}")).await.expect(200);
        assert_eq!(found.text("status"), *status, "{found:?}");
    }
    for status in ["upcoming", "live", "sold_out", "ended"] {
        let mut wanted: Vec<_> =
            table.iter().filter(|row| row.1 == status).map(|row| row.0.clone()).collect();
        let mut found = listed(api, status).await;
        wanted.sort();
        found.sort();
        assert_eq!(found, wanted, "{status}");
    }
    let sold = api.get(&format!("/api/sales/{bought}")).await.expect(200);
    assert_eq!(sold.text("sold_out_at"), order.text("created_at"));
    let all = api.get("/api/sales").await.expect(200);
    assert_eq!(all.body["items"].as_array().map(Vec::len), Some(table.len()));
    for bad in ["", "Live", "open", "live,ended"] {
        let reply = api.get(&format!("/api/sales?status={bad}")).await.expect(400);
        assert_eq!(faulty_fields(&reply), ["status"], "{bad}");
    }
    service.finish().await;
}
