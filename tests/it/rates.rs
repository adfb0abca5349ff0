//! Who orders too often is told when to come back; asking again for an order that is there is never
//! too often.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

use http::Method;
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

/// In mode `jwt`, with a sale in which everything is free.
async fn start_with_tokens(per_user: &str, per_address: &str) -> (Service, String) {
    let service = Service::start_with(|raw| {
        raw.auth = Some("jwt".to_owned());
        raw.jwt_secret = Some(crate::support::service::SECRET.to_owned());
        raw.rate_per_user = Some(per_user.to_owned());
        raw.rate_per_address = Some(per_address.to_owned());
    })
    .await;
    let sale = json!({ "name": "lamp", "unit_price": "0.00", "stock": 500 });
    let sale = service.admin().post("/api/sales", &new_key(), &sale).await.expect(201).id();
    (service, sale)
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
    let (made, limited) = buy_until_limited(api, &user, &sale).await;
    assert!(made > 0, "the replays were counted");
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
    let (service, sale) = start_with_tokens("1", "1").await;
    let (admin, shop) = (service.admin(), service.shop());
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

/// With a token of his own a buyer has both limits. Who is too greedy for his own takes nothing of
/// his address's.
#[tokio::test]
async fn a_buyer_is_limited_by_himself_and_by_his_address_apart() {
    let (service, sale) = start_with_tokens("1", "4").await;
    let admin = service.admin();
    let user = || async { admin.post("/api/users", &new_key(), &json!({})).await.expect(201).id() };
    let greedy = user().await;
    let press = async |user: &str| service.buyer(user).buy(&new_key(), user, &sale).await;
    for _ in 0..100 {
        let reply = press(&greedy).await;
        let policy = reply.header("ratelimit-policy");
        assert!(reply.status == 201 || policy == Some("\"user\";q=2;w=2"), "{reply:?}");
    }
    press(&user().await).await.expect(201);
    // A new buyer each time, so that only the address can be to blame.
    let mut limited = press(&user().await).await;
    for _ in 0..100 {
        if limited.status == 429 {
            break;
        }
        limited = press(&user().await).await;
    }
    assert_eq!(limited.header("ratelimit-policy"), Some("\"address\";q=8;w=2"), "{limited:?}");
    service.finish().await;
}

/// Whoever stands behind the shop's own proxy is known by what the proxy says, and one IPv6
/// network is one address.
#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_a_limit_of_its_own() {
    let service = Service::start_with(|raw| {
        raw.rate_per_address = Some("1".to_owned());
        raw.trusted_proxies = Some("127.0.0.1".to_owned());
    })
    .await;
    let api = &service.api;
    let (user, sale) = (api.user("0.00").await, api.sale("0.00", 500).await);
    let body = json!({ "user_id": user, "sale_id": sale }).to_string();
    let press = async |client: &str| {
        let request = api.request(Method::POST, "/api/orders");
        let request = request.header("content-type", "application/json");
        let request = request.header("idempotency-key", new_key());
        let request = request.header("x-forwarded-for", client);
        api.send(request.body(body.clone().into()).unwrap()).await.unwrap().status.as_u16()
    };
    for (one, same, other) in [
        ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
    ] {
        let mut answers = Vec::new();
        for client in [one, same].into_iter().cycle().take(20) {
            answers.push(press(client).await);
        }
        assert!(answers.starts_with(&[201, 201]), "{one}: {answers:?}");
        let made = answers.iter().filter(|status| **status == 201).count();
        assert!(made < 10, "{one} and {same} are one address: {answers:?}");
        assert_eq!(press(other).await, 201, "{other} is another than {one}");
    }
    service.finish().await;
}
