//! Two buyers: each sees and spends its own, whatever it sends.

use serde_json::json;

use super::World;
use crate::support::api::{Reply, new_key};

#[tokio::test]
async fn a_buyer_spends_its_own_money_only() {
    let world = World::make().await;
    let World { service, ada, bob, sale, order } = &world;
    let (as_ada, as_bob) = (service.buyer(ada), service.buyer(bob));
    let theft = json!({ "user_id": ada, "sale_id": sale });
    let theft = as_bob.post("/api/orders", &new_key(), &theft).await;
    theft.refused(403, "forbidden", "no", "never");
    // Ada's key and body mean another order when Bob sends them.
    let body = json!({ "sale_id": sale, "reference": "of ada" });
    let own = as_bob.post("/api/orders", "ada-1", &body).await.expect(201);
    assert!(!own.replayed() && own.id() != *order);
    assert_eq!(own.text("user_id"), *bob);
    // With and without user_id it is the same decision.
    let named = json!({ "user_id": ada, "sale_id": sale, "reference": "of ada" });
    let again = as_ada.post("/api/orders", "ada-1", &named).await.expect(201);
    assert!(again.replayed() && again.id() == *order);
    // A foreign order is as absent as one that was never made: the same answer but for its id.
    let absent = as_bob.get("/api/orders/0190c000-0000-7000-8000-00000000ffff").await;
    let foreign = as_bob.get(&format!("/api/orders/{order}")).await;
    let malformed = as_bob.get("/api/orders/7").await;
    let words = |reply: &Reply| (reply.code(), reply.text("detail"));
    assert_eq!(words(&absent), words(&foreign));
    assert_eq!(words(&absent), words(&malformed));
    // So is a foreign user's wallet: forbidden, whether or not there is one.
    for user in [ada.as_str(), "0190a000-0000-7000-8000-00000000ffff"] {
        for path in ["wallet", "wallet/entries"] {
            let reply = as_bob.get(&format!("/api/users/{user}/{path}")).await;
            assert_eq!(reply.expect(403).code(), "forbidden");
        }
    }
    assert_eq!(as_bob.get("/api/users/7/wallet").await.expect(404).code(), "user_not_found");
    let (ada_has, bob_has) = (as_ada.balance(ada).await, as_bob.balance(bob).await);
    assert_eq!((ada_has.as_str(), bob_has.as_str()), ("99.00", "99.00"));
    world.service.finish().await;
}

#[tokio::test]
async fn no_filter_and_no_cursor_shows_a_buyer_more_than_its_own() {
    let world = World::make().await;
    let World { service, ada, bob, sale, .. } = &world;
    let (as_ada, as_bob) = (service.buyer(ada), service.buyer(bob));
    let body = json!({ "sale_id": sale });
    for api in [&as_ada, &as_ada, &as_bob] {
        api.post("/api/orders", &new_key(), &body).await.expect(201);
    }
    let cursor = as_ada.get("/api/orders?limit=1").await.expect(200).text("next_cursor");
    for (query, count) in [
        (String::new(), 1),
        (format!("?user_id={bob}"), 1),
        (format!("?user_id={}", bob.to_uppercase()), 1),
        (format!("?sale_id={sale}"), 1),
        (format!("?sale_id={sale}&limit=200"), 1),
        ("?reference=of%20ada".to_owned(), 0),
        ("?idempotency_key=ada-1".to_owned(), 0),
        (format!("?idempotency_key=ada-1&sale_id={sale}"), 0),
        ("?status=confirmed".to_owned(), 1),
    ] {
        let found = as_bob.get(&format!("/api/orders{query}")).await.expect(200);
        let items = found.body["items"].as_array().expect("items");
        assert_eq!(items.len(), count, "{query}");
        assert!(items.iter().all(|order| order["user_id"] == json!(bob)), "{query}");
    }
    let theirs = as_bob.get(&format!("/api/orders?cursor={cursor}")).await.expect(200);
    let items = theirs.body["items"].as_array().expect("items");
    assert!(items.iter().all(|order| order["user_id"] == json!(bob)), "{items:?}");
    for query in [format!("user_id={ada}"), format!("user_id={ada}&idempotency_key=ada-1")] {
        let reply = as_bob.get(&format!("/api/orders?{query}")).await;
        assert_eq!(reply.expect(403).code(), "forbidden", "{query}");
    }
    let twice = as_bob.get(&format!("/api/orders?user_id={bob}&user_id={ada}")).await;
    assert_eq!(twice.expect(400).code(), "validation_failed");
    world.service.finish().await;
}
