//! Who orders too often is told when to come back; asking again for an order that is there is never
//! too often.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

use serde_json::json;

use crate::support::Service;
use crate::support::api::{Api, Reply, new_key};

/// One order a second for each user, two at once; addresses as given.
async fn start(per_user: &str, per_address: &str) -> Service {
    Service::start_with(|raw| {
        raw.rate_per_user = Some(per_user.to_owned());
        raw.rate_per_address = Some(per_address.to_owned());
    })
    .await
}

async fn buy_until_limited(api: &Api, user: &str, sale: &str) -> (usize, Reply) {
    for made in 0..500 {
        let reply = api.buy(&new_key(), user, sale).await;
        if reply.status != 201 {
            return (made, reply);
        }
    }
    panic!("never limited");
}

#[tokio::test]
async fn a_user_who_orders_too_often_is_told_when_to_come_back() {
    let service = start("1", "0").await;
    let api = &service.api;
    let (user, other) = (api.user("500.00").await, api.user("5.00").await);
    let sale = api.sale("1.00", 500).await;
    let won = api.buy("won", &user, &sale).await.expect(201);
    // Replays between them are not counted.
    for _ in 0..10 {
        assert!(api.buy("won", &user, &sale).await.expect(201).replayed());
    }
    let (_, limited) = buy_until_limited(api, &user, &sale).await;
    let limited = limited.refused(429, "rate_limited", "unknown", "same_key");
    let seconds: u32 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&seconds), "{limited:?}");
    assert_eq!(limited.header("ratelimit-policy"), Some("\"user\";q=2;w=2"));
    let rate = limited.header("ratelimit").unwrap();
    assert!(rate.starts_with("\"user\";r=0;t="), "{rate}");
    // Not the winner's retry, and not the neighbour.
    let again = api.buy("won", &user, &sale).await.expect(201);
    assert!(again.replayed() && again.bytes == won.bytes);
    api.buy(&new_key(), &other, &sale).await.expect(201);
    // A spent key with another wish is no replay.
    let other_wish = json!({ "user_id": user, "sale_id": sale, "quantity": 2 });
    let too_many = api.post("/api/orders", "won", &other_wish).await;
    assert!([429, 422].contains(&too_many.status.as_u16()), "{too_many:?}");
    let mut last = too_many;
    for _ in 0..5 {
        last = api.post("/api/orders", "won", &other_wish).await;
    }
    last.refused(429, "rate_limited", "unknown", "same_key");
    service.finish().await;
}

#[tokio::test]
async fn an_address_is_limited_whoever_orders_from_it() {
    let service = start("0", "5").await;
    let api = &service.api;
    let sale = api.sale("0.00", 500).await;
    let mut limited = None;
    for _ in 0..200 {
        let reply = api.buy(&new_key(), &api.user("1.00").await, &sale).await;
        if reply.status == 429 {
            limited = Some(reply);
            break;
        }
    }
    let limited = limited.expect("one address orders at most five times a second");
    assert_eq!(limited.header("ratelimit-policy"), Some("\"address\";q=10;w=2"));
    service.finish().await;
}

#[tokio::test]
async fn the_operator_is_not_limited_and_the_shop_only_by_user() {
    let service = Service::start_with(|raw| {
        raw.auth = Some("jwt".to_owned());
        raw.jwt_secret = Some(crate::support::service::SECRET.to_owned());
        raw.rate_per_user = Some("1".to_owned());
        raw.rate_per_address = Some("1".to_owned());
    })
    .await;
    let (admin, shop) = (service.admin(), service.shop());
    let sale = json!({ "name": "lamp", "unit_price": "0.00", "stock": 500 });
    let sale = admin.post("/api/sales", &new_key(), &sale).await.expect(201).id();
    let user = || async { admin.post("/api/users", &new_key(), &json!({})).await.expect(201).id() };
    let known = user().await;
    for _ in 0..20 {
        admin.buy(&new_key(), &known, &sale).await.expect(201);
    }
    for _ in 0..10 {
        shop.buy(&new_key(), &user().await, &sale).await.expect(201);
    }
    let (_, limited) = buy_until_limited(&shop, &known, &sale).await;
    assert_eq!(limited.header("ratelimit-policy"), Some("\"user\";q=2;w=2"));
    service.finish().await;
}
