//! What the body of an order may hold: each bad member is refused by name before anything is
//! looked up, each good spelling means the same order.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::support::Service;
use crate::support::api::{Reply, new_key};

/// The members that a refusal names, in order.
pub(crate) fn faulty_fields(reply: &Reply) -> Vec<String> {
    let errors = reply.body["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["field"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Bodies as they stand (`U` and `S` are the ids) and the members that are named.
const BAD: &[(&str, &[&str])] = &[
    ("", &["body"]),
    ("null", &["body"]),
    ("3", &["body"]),
    (r#""U""#, &["body"]),
    ("[]", &["body"]),
    (r#"["U","S",3,null]"#, &["body"]),
    (r#"[{"user_id":"U","sale_id":"S"}]"#, &["body"]),
    (r#"{"user_id":"U","sale_id":"S""#, &["body"]),
    (r#"{"user_id":"U","sale_id":"S"}{}"#, &["body"]),
    (r#"{"user_id":"U","sale_id":"S",}"#, &["body"]),
    (r#"{"user_id":"U","sale_id":"S","quantity":1e999}"#, &["quantity"]),
    (r#"{"user_id":"U","sale_id":"S","quantity":NaN}"#, &["body"]),
    (r#"{"user_id":"U","sale_id":"S","quantity":01}"#, &["body"]),
    ("{}", &["user_id", "sale_id"]),
    (r#"{"user_id":null,"sale_id":"S"}"#, &["user_id"]),
    (r#"{"user_id":7,"sale_id":"S"}"#, &["user_id"]),
    (r#"{"user_id":"{U}","sale_id":"S"}"#, &["user_id"]),
    (r#"{"user_id":"urn:uuid:U","sale_id":"S"}"#, &["user_id"]),
    (r#"{"user_id":" U","sale_id":"S"}"#, &["user_id"]),
    (r#"{"user_id":"U","sale_id":"0190b0000000700080000000000000ff"}"#, &["sale_id"]),
    (r#"{"user_id":"U","sale_id":["S"]}"#, &["sale_id"]),
    (r#"{"user_id":"U","user_id":"U","sale_id":"S"}"#, &["user_id"]),
    (r#"{"user_id":"U","sale_id":"S","quantity":0}"#, &["quantity"]),
    (r#"{"user_id":"U","sale_id":"S","quantity":-1}"#, &["quantity"]),
    (r#"{"user_id":"U","sale_id":"S","quantity":101}"#, &["quantity"]),
    (r#"{"user_id":"U","sale_id":"S","quantity":18446744073709551617}"#, &["quantity"]),
    (r#"{"user_id":"U","sale_id":"S","quantity":1.5}"#, &["quantity"]),
    (r#"{"user_id":"U","sale_id":"S","quantity":99.99999999999999999}"#, &["quantity"]),
    (r#"{"user_id":"U","sale_id":"S","quantity":0.99999999999999999999}"#, &["quantity"]),
    (r#"{"user_id":"U","sale_id":"S","reference":"\ud800"}"#, &["reference"]),
    (r#"{"user_id":"U","sale_id":"S","quantity":"1"}"#, &["quantity"]),
    (r#"{"user_id":"U","sale_id":"S","quantity":true}"#, &["quantity"]),
    (r#"{"user_id":"U","sale_id":"S","quantity":null}"#, &["quantity"]),
    (r#"{"user_id":"U","sale_id":"S","quantity":1,"quantity":1}"#, &["quantity"]),
    (r#"{"user_id":"U","sale_id":"S","reference":""}"#, &["reference"]),
    (r#"{"user_id":"U","sale_id":"S","reference":4711}"#, &["reference"]),
    (r#"{"user_id":"U","sale_id":"S","reference":null}"#, &["reference"]),
    (r#"{"user_id":"U","sale_id":"S","reference":"a\u0000b"}"#, &["reference"]),
    (r#"{"user_id":"U","sale_id":"S","reference":"a\nb"}"#, &["reference"]),
    (r#"{"user_id":"U","sale_id":"S","reference":"a\u0085b"}"#, &["reference"]),
    (r#"{"user_id":"U","sale_id":"S","valid_until":"2099-01-01"}"#, &["valid_until"]),
    (r#"{"user_id":"U","sale_id":"S","valid_until":"2099-01-01T00:00:00"}"#, &["valid_until"]),
    (r#"{"user_id":"U","sale_id":"S","valid_until":"2099-02-30T00:00:00Z"}"#, &["valid_until"]),
    (r#"{"user_id":"U","sale_id":"S","valid_until":"2099-01-01T24:00:00Z"}"#, &["valid_until"]),
    (r#"{"user_id":"U","sale_id":"S","valid_until":"12099-01-01T00:00:00Z"}"#, &["valid_until"]),
    (r#"{"user_id":"U","sale_id":"S","valid_until":"tomorrow"}"#, &["valid_until"]),
    (r#"{"user_id":"U","sale_id":"S","valid_until":4070908800}"#, &["valid_until"]),
    (r#"{"user_id":"U","sale_id":"S","valid_until":null}"#, &["valid_until"]),
    (r#"{"user_id":"U","sale_id":"S","price":1.00}"#, &["price"]),
    (r#"{"user_id":"U","sale_id":"S","User_id":"U"}"#, &["User_id"]),
    (r#"{"quantity":0,"x":1,"sale_id":"S"}"#, &["user_id", "quantity", "x"]),
];

#[tokio::test]
async fn a_bad_body_is_refused_with_every_member_that_is_wrong() {
    let service = Service::start().await;
    let (api, key) = (&service.api, new_key());
    let (user, sale) = (api.user("500.00").await, api.sale("1.00", 200).await);
    let fill = |text: &str| text.replace('U', &user).replace('S', &sale);
    for (body, fields) in BAD {
        // "User_id" is the one name with a capital U: only ids are filled in.
        let body = fill(&body.replace("User_id", "\u{1}")).replace('\u{1}', "User_id");
        let reply = api.post_raw("/api/orders", &key, &body).await;
        let reply = reply.refused(400, "validation_failed", "no", "never");
        assert_eq!(faulty_fields(&reply), *fields, "{body}");
    }
    for body in [&b"{\"reference\":\"\xff\"}"[..], b"\xef\xbb\xbf{}", b"\0"] {
        let request = api
            .request(Method::POST, "/api/orders")
            .header("content-type", "application/json")
            .header("idempotency-key", &key)
            .body(Bytes::copy_from_slice(body))
            .expect("a request");
        let reply = api.send(request).await.expect("an answer");
        let reply = reply.refused(400, "validation_failed", "no", "never");
        assert_eq!(faulty_fields(&reply), ["body"], "{body:?}");
    }
    let long = json!({ "user_id": user, "sale_id": sale, "reference": "ä".repeat(201) });
    let long = api.post("/api/orders", &key, &long).await;
    assert_eq!(faulty_fields(&long), ["reference"]);
    assert_eq!((api.stock(&sale).await, api.balance(&user).await.as_str()), (200, "500.00"));
    // None of it touched the key.
    api.buy(&key, &user, &sale).await.expect(201);
    service.finish().await;
}

/// Spellings that mean the same: the second of each pair is a replay of the first.
#[tokio::test]
async fn one_meaning_has_several_spellings_and_one_order() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, sale) = (api.user("500.00").await, api.sale("1.00", 200).await);
    let upper = (user.to_uppercase(), sale.to_uppercase());
    let pairs = [
        (json!({}), json!({ "quantity": 1 }), 1),
        (json!({ "quantity": 3 }), json!({ "quantity": 3.0 }), 3),
        (json!({ "quantity": 100 }), json!({ "quantity": 1e2 }), 100),
        (json!({ "user_id": upper.0 }), json!({ "sale_id": upper.1 }), 1),
        (
            json!({ "valid_until": "2099-12-31T23:59:59Z" }),
            json!({ "valid_until": "2100-01-01T05:29:59.0000009+05:30" }),
            1,
        ),
        (
            json!({ "valid_until": "9999-12-31T23:59:59.999999Z" }),
            json!({ "valid_until": "9999-12-31t22:59:59.999999-01:00" }),
            1,
        ),
        (json!({ "reference": "ä 漢 🎧 \"" }), json!({ "reference": "\u{e4} 漢 🎧 \"" }), 1),
    ];
    for (first, second, units) in pairs {
        let key = new_key();
        let full = |members: &Value| {
            let mut body = json!({ "user_id": user, "sale_id": sale });
            for (name, value) in members.as_object().expect("members") {
                body[name] = value.clone();
            }
            body
        };
        let made = api.post("/api/orders", &key, &full(&first)).await.expect(201);
        assert_eq!(made.body["quantity"], units, "{first}");
        assert!(!made.replayed());
        assert_eq!(made.text("user_id"), user);
        let again = api.post("/api/orders", &key, &full(&second)).await.expect(201);
        assert!(again.replayed() && again.bytes == made.bytes, "{second}: {again:?}");
    }
    assert_eq!(api.stock(&sale).await, 200 - 108);
    service.finish().await;
}

#[tokio::test]
async fn a_reference_comes_back_and_finds_its_orders() {
    let service = Service::start().await;
    let api = &service.api;
    let (ada, bob) = (api.user("9.00").await, api.user("9.00").await);
    let sale = api.sale("1.00", 9).await;
    let reference = "cart 7/ä&b=+";
    for user in [&ada, &bob] {
        for reference in [Some(reference), Some("cart 8"), None] {
            let mut body = json!({ "user_id": user, "sale_id": sale });
            if let Some(reference) = reference {
                body["reference"] = json!(reference);
            }
            let made = api.post("/api/orders", &new_key(), &body).await.expect(201);
            assert_eq!(made.body["reference"].as_str(), reference);
        }
    }
    let query = "reference=cart%207/%C3%A4%26b%3D%2B";
    for (filter, count) in [
        (query.to_owned(), 2),
        (format!("{query}&user_id={ada}"), 1),
        (format!("{query}&sale_id={sale}&status=confirmed"), 2),
        (format!("{query}&user_id={}", super::NOBODY), 0),
        ("reference=cart".to_owned(), 0),
    ] {
        let found = api.get(&format!("/api/orders?{filter}")).await.expect(200);
        let items = found.body["items"].as_array().expect("items");
        assert_eq!(items.len(), count, "{filter}");
        assert!(items.iter().all(|order| order["reference"] == reference), "{filter}");
    }
    service.finish().await;
}
