//! Users: made by the service's id or the shop's, found again, never changed.

use http::Method;
use serde_json::{Value, json};

use crate::orders::{NOBODY, bodies::faulty_fields};
use crate::support::Service;
use crate::support::api::new_key;

#[tokio::test]
async fn a_user_is_made_found_and_has_a_wallet() {
    let service = Service::start().await;
    let api = &service.api;
    for (body, balance) in [
        (json!({}), "0.00"),
        (json!({ "opening_balance": "0.00" }), "0.00"),
        (json!({ "opening_balance": "99999999999.99" }), "99999999999.99"),
        (json!({ "name": "Ada", "external_id": "c 1/ä", "opening_balance": "5.00" }), "5.00"),
    ] {
        let made = api.post("/api/users", &new_key(), &body).await.expect(201);
        for name in ["name", "external_id"] {
            assert_eq!(made.body[name], body[name]);
        }
        let path = format!("/api/users/{}", made.id());
        assert_eq!(made.header("location"), Some(path.as_str()));
        assert_eq!(api.get(&path).await.expect(200).bytes, made.bytes);
        assert_eq!(
            api.get(&path.to_uppercase().replace("/API/USERS", "/api/users")).await.bytes,
            made.bytes
        );
        assert_eq!(api.balance(&made.id()).await, balance);
        let entries = api.get(&format!("{path}/wallet/entries")).await.expect(200);
        let count = usize::from(balance != "0.00");
        assert_eq!(entries.body["items"].as_array().map(Vec::len), Some(count), "{body}");
    }
    let found = api.get("/api/users?external_id=c%201/%C3%A4").await.expect(200);
    assert_eq!(found.body["items"][0]["name"], "Ada");
    let none = api.get("/api/users?external_id=c%201").await.expect(200);
    assert_eq!(none.body, json!({ "items": [] }));
    service.finish().await;
}

#[tokio::test]
async fn a_key_makes_one_user() {
    let service = Service::start().await;
    let (api, key) = (&service.api, new_key());
    let body = json!({ "name": "Ada", "external_id": "c-1", "opening_balance": "5.00" });
    let made = api.post("/api/users", &key, &body).await.expect(201);
    let again = api.post("/api/users", &key, &body).await.expect(201);
    assert!(!made.replayed() && again.replayed());
    assert_eq!(
        (again.bytes, again.headers.get("location")),
        (made.bytes.clone(), made.headers.get("location"))
    );
    assert_eq!(api.balance(&made.id()).await, "5.00");
    for (name, value) in [("name", json!("Bob")), ("opening_balance", json!("5.01"))] {
        let mut other = body.clone();
        other[name] = value;
        let reply = api.post("/api/users", &key, &other).await;
        let reply = reply.refused(422, "idempotency_key_reused", "yes", "new_key");
        assert!(reply.body["order_id"].is_null());
    }
    // Nothing and "0.00" are the same wallet.
    let (key, empty) =
        (new_key(), api.post("/api/users", &new_key(), &json!({})).await.expect(201));
    let made = api.post("/api/users", &key, &json!({})).await.expect(201);
    let again = api.post("/api/users", &key, &json!({ "opening_balance": "0.00" })).await;
    assert!(again.expect(201).replayed() && made.id() != empty.id());
    // The shop's id is taken whatever the key.
    let taken = api.post("/api/users", &new_key(), &body).await;
    taken.refused(409, "already_exists", "no", "never");
    let taken = json!({ "external_id": "c-1" });
    let reply = api.try_write(Method::POST, "/api/users", None, &taken).await;
    let reply = reply.expect("an answer");
    reply.refused(409, "already_exists", "no", "never");
    service.finish().await;
}

/// A shop's back end sends the same user from all its processes at once. Whoever meets the other's
/// external id before the other's id must not think it somebody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_is_put_many_times_at_once_is_one_user() {
    let service = Service::start().await;
    for round in 0..60 {
        let path = format!("/api/users/{}", uuid::Uuid::now_v7());
        let body = json!({ "external_id": format!("twin-{round}") });
        let mut twins = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let (api, path, body) = (service.api.clone(), path.clone(), body.clone());
            twins.spawn(async move { api.try_write(Method::PUT, &path, None, &body).await });
        }
        let mut made = 0;
        while let Some(reply) = twins.join_next().await {
            let reply = reply.expect("no panic").expect("an answer");
            made += usize::from(reply.status == 201);
            assert!(reply.status == 200 || reply.status == 201, "{reply:?}");
        }
        assert_eq!(made, 1, "round {round}");
    }
    service.finish().await;
}

#[tokio::test]
async fn a_refusal_leaves_the_key_of_a_user_free() {
    let service = Service::start().await;
    let (api, key) = (&service.api, new_key());
    api.post("/api/users", &new_key(), &json!({ "external_id": "c-1" })).await.expect(201);
    let taken = json!({ "external_id": "c-1", "opening_balance": "5.00" });
    let reply = api.post("/api/users", &key, &taken).await;
    reply.refused(409, "already_exists", "no", "never");
    let free = json!({ "external_id": "c-2", "opening_balance": "5.00" });
    let made = api.post("/api/users", &key, &free).await.expect(201);
    assert!(!made.replayed());
    service.finish().await;
}

#[tokio::test]
async fn money_needs_a_key_and_nothing_else_does() {
    let service = Service::start().await;
    let api = &service.api;
    for (body, code) in [
        (json!({ "opening_balance": "5.00" }), "idempotency_key_missing"),
        (json!({ "opening_balance": "0.00" }), "idempotency_key_missing"),
        (json!({ "opening_balance": 5 }), "validation_failed"),
    ] {
        let reply = api.try_write(Method::POST, "/api/users", None, &body).await;
        reply.expect("an answer").refused(400, code, "no", "never");
    }
    let bare = json!({ "name": "Ada" });
    let first = api.try_write(Method::POST, "/api/users", None, &bare).await.expect("an answer");
    let second = api.try_write(Method::POST, "/api/users", None, &bare).await.expect("an answer");
    assert_ne!(first.expect(201).id(), second.expect(201).id());
    let reply = api.post("/api/users", "a b", &bare).await;
    reply.refused(400, "idempotency_key_invalid", "no", "never");
    service.finish().await;
}

/// Nobody has such an id, and that is not what helps somebody who wants to make a user.
#[tokio::test]
async fn a_user_is_made_under_a_uuid_only_and_who_tries_another_id_is_told() {
    let service = Service::start().await;
    let api = &service.api;
    for id in ["nope", "7", "0190a000-0000-7000-8000-00000000000", "%7B%7D"] {
        let path = format!("/api/users/{id}");
        let reply = api.try_write(Method::PUT, &path, None, &json!({})).await.expect("an answer");
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (404, "user_not_found"));
        assert!(reply.text("detail").contains("must be a UUID, of your choice"), "{reply:?}");
        let reply = api.get(&path).await.expect(404);
        assert!(reply.text("detail").starts_with("No user has this id."), "{reply:?}");
    }
    service.finish().await;
}

/// Bad bodies and the members they name; `PUT` takes the same but for the money.
#[tokio::test]
async fn a_bad_user_is_refused_by_name() {
    let service = Service::start().await;
    let (api, long) = (&service.api, "x".repeat(201));
    let own = "/api/users/0190a000-0000-7000-8000-00000000abcd";
    let table: [(Value, &[&str]); 14] = [
        (json!([]), &["body"]),
        (json!("Ada"), &["body"]),
        (json!({ "name": "" }), &["name"]),
        (json!({ "name": null }), &["name"]),
        (json!({ "name": 7 }), &["name"]),
        (json!({ "name": "a\u{0}b" }), &["name"]),
        (json!({ "name": "a\u{7f}" }), &["name"]),
        (json!({ "name": "a\u{9b}" }), &["name"]),
        (json!({ "name": long }), &["name"]),
        (json!({ "external_id": "", "name": "\r" }), &["name", "external_id"]),
        (json!({ "external_id": ["c-1"] }), &["external_id"]),
        (json!({ "id": NOBODY }), &["id"]),
        (json!({ "balance": "5.00" }), &["balance"]),
        (json!({ "x\ny": 1 }), &["x\\ny"]),
    ];
    for (body, fields) in table {
        let posted = api.post("/api/users", &new_key(), &body).await;
        let posted = posted.refused(400, "validation_failed", "no", "never");
        assert_eq!(faulty_fields(&posted), fields, "{body}");
        let put = api.put(own, &body).await.expect(400);
        assert_eq!(
            (put.code().as_str(), faulty_fields(&put)),
            ("validation_failed", faulty_fields(&posted))
        );
    }
    for opening in [json!(5), json!(5.5), json!("5"), json!("05.00"), json!("-1.00"), json!("1e2")]
    {
        let body = json!({ "opening_balance": opening });
        let reply = api.post("/api/users", &new_key(), &body).await;
        let reply = reply.refused(400, "validation_failed", "no", "never");
        assert_eq!(faulty_fields(&reply), ["opening_balance"], "{body}");
    }
    let put = api.put(own, &json!({ "opening_balance": "5.00" })).await.expect(400);
    assert_eq!(faulty_fields(&put), ["opening_balance"]);
    assert_eq!(api.get(own).await.expect(404).code(), "user_not_found");
    assert_eq!(api.get("/api/users").await.expect(200).body, json!({ "items": [] }));
    service.finish().await;
}

#[tokio::test]
async fn put_makes_a_user_once_and_never_changes_one() {
    let service = Service::start().await;
    let api = &service.api;
    let id = "01234567-89ab-cdef-0123-456789abcdef";
    let path = format!("/api/users/{id}");
    let made = api.put(&path, &json!({ "name": "Ada", "external_id": "c-1" })).await.expect(201);
    assert_eq!((made.id().as_str(), made.header("location")), (id, Some(path.as_str())));
    for body in
        [json!({ "name": "Ada", "external_id": "c-1" }), json!({}), json!({ "name": "Bob" })]
    {
        let again = api.put(&path, &body).await.expect(200);
        assert_eq!(again.bytes, made.bytes, "{body}");
    }
    let upper = format!("/api/users/{}", id.to_uppercase());
    assert_eq!(api.put(&upper, &json!({})).await.expect(200).bytes, made.bytes);
    assert_eq!(api.balance(id).await, "0.00");
    let other = "/api/users/01234567-89ab-cdef-0123-456789abcde0";
    let taken = api.put(other, &json!({ "external_id": "c-1" })).await.expect(409);
    assert_eq!(taken.code(), "already_exists");
    assert!(taken.body["charged"].is_null(), "only a POST speaks of keys");
    api.get(other).await.expect(404);
    for malformed in
        ["7", "{01234567-89ab-cdef-0123-456789abcdef}", "0123456789abcdef0123456789abcdef"]
    {
        let malformed = malformed.replace('{', "%7B").replace('}', "%7D");
        let reply = api.put(&format!("/api/users/{malformed}"), &json!({})).await.expect(404);
        assert_eq!(reply.code(), "user_not_found", "{malformed}");
    }
    service.finish().await;
}

#[tokio::test]
async fn who_is_not_there_is_not_found() {
    let service = Service::start().await;
    let api = &service.api;
    for id in [NOBODY, "7", "%00", "..%2f", "%FF", &"f".repeat(300)] {
        for rest in ["", "/", "/wallet", "/wallet/entries", "/wallet/entries?limit=7"] {
            let reply = api.get(&format!("/api/users/{id}{rest}")).await.expect(404);
            assert_eq!(reply.code(), "user_not_found", "{id}{rest}");
        }
        let path = format!("/api/users/{id}/wallet/deposits");
        let reply = api.post(&path, &new_key(), &json!({ "amount": "1.00" })).await;
        reply.refused(404, "user_not_found", "no", "never");
        for (path, code) in [("sales", "sale_not_found"), ("orders", "order_not_found")] {
            let reply = api.get(&format!("/api/{path}/{id}")).await.expect(404);
            assert_eq!(reply.code(), code, "{id}");
        }
    }
    service.finish().await;
}
