//! Who may do what, in mode `jwt`: every operation of the document for every caller (`matrix`),
//! lists that cannot be widened (`filters`), two users against each other (`own`), forged
//! tokens (`tokens`, `attacks`), and keys that come and go (`keys`).

mod attacks;
mod filters;
mod keys;
mod matrix;
mod own;
mod tokens;

use flashdeal::adapters::token::Caller;
use serde_json::{Value, json};

use crate::support::Service;
use crate::support::api::new_key;
use crate::support::service::token;

/// The things that belong to the buyer Ada, and her token's rival Bob.
struct World {
    service: Service,
    ada: String,
    bob: String,
    sale: String,
    order: String,
}

impl World {
    async fn make() -> World {
        let service = Service::start_jwt().await;
        let admin = service.admin();
        let (ada, bob) = (admin.user("100.00").await, admin.user("100.00").await);
        let sale = admin.sale("1.00", 100).await;
        let body = json!({ "sale_id": sale, "reference": "of ada" });
        let made = service.buyer(&ada).post("/api/orders", "ada-1", &body).await.expect(201);
        assert_eq!(made.text("user_id"), ada, "a buyer may leave user_id out");
        World { service, ada, bob, sale, order: made.id() }
    }
}

/// Money comes only from the operator, whatever else a request says.
#[tokio::test]
async fn the_service_makes_users_without_money_only() {
    let world = World::make().await;
    let (shop, admin) = (world.service.shop(), world.service.admin());
    for opening in ["5.00", "0.00"] {
        let body = json!({ "opening_balance": opening });
        let reply = shop.post("/api/users", &new_key(), &body).await;
        reply.refused(403, "forbidden", "no", "never");
        admin.post("/api/users", &new_key(), &body).await.expect(201);
    }
    let body = json!({ "sale_id": world.sale });
    for caller in [&shop, &admin] {
        // A service must say for whom it buys.
        let reply = caller.post("/api/orders", &new_key(), &body).await;
        reply.refused(400, "validation_failed", "no", "never");
    }
    world.service.finish().await;
}

/// A 401 and a 403 come before anything is read, and never spend a key.
#[tokio::test]
async fn who_may_not_learns_nothing_of_keys_and_bodies() {
    let world = World::make().await;
    let World { service, ada, .. } = &world;
    let deposits = format!("/api/users/{ada}/wallet/deposits");
    let as_ada = service.buyer(ada);
    for (api, status) in [(&service.api, 401), (&as_ada, 403)] {
        for body in ["[]", "{", r#"{"amount":"1.00"}"#] {
            assert_eq!(api.post_raw(&deposits, "k", body).await.status.as_u16(), status);
        }
        let nowhere = "/api/users/7/wallet/deposits";
        let reply = api.post(nowhere, "k", &Value::Null).await;
        assert_eq!(reply.status.as_u16(), status);
    }
    let made = service.admin().post(&deposits, "k", &json!({ "amount": "1.00" })).await;
    assert!(!made.expect(201).replayed());
    // A buyer who was never made has a valid token and nothing else.
    let ghost = service.api.with_token(&token(Caller::Buyer(
        flashdeal::domain::id::UserId::parse("0190a000-0000-7000-8000-00000000ffff")
            .expect("an id"),
    )));
    let reply = ghost.post("/api/orders", "k", &json!({ "sale_id": world.sale })).await;
    reply.refused(404, "user_not_found", "no", "never");
    let list = ghost.get("/api/orders").await.expect(200);
    assert_eq!(list.body, json!({ "items": [] }));
    world.service.finish().await;
}
