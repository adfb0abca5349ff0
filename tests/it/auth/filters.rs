//! Lists cannot be widened and headers cannot be believed: everything that a buyer may add to a
//! request shows it no more than its own.

use http::Method;
use serde_json::json;

use super::World;
use super::matrix::is_the_owners;
use crate::contract::operations;
use crate::support::api::new_key;

/// Values that are good to know for a thief, for every parameter of a list that a buyer may read;
/// a new parameter without one fails.
fn loot(world: &World, cursor: &str, name: &str) -> String {
    match name {
        "user_id" => world.ada.clone(),
        "sale_id" => world.sale.clone(),
        "idempotency_key" => "ada-1".to_owned(),
        "reference" => "of%20ada".to_owned(),
        "status" => "confirmed".to_owned(),
        "limit" => "200".to_owned(),
        "cursor" => cursor.to_owned(),
        other => panic!("{other}: a filter that nobody tried to widen"),
    }
}

#[tokio::test]
async fn no_combination_of_filters_shows_a_buyer_what_is_anothers() {
    let world = World::make().await;
    let service = &world.service;
    let (as_ada, as_bob) = (service.buyer(&world.ada), service.buyer(&world.bob));
    let body = json!({ "sale_id": world.sale });
    for api in [&as_ada, &as_bob] {
        api.post("/api/orders", &new_key(), &body).await.expect(201);
    }
    let owned = operations()
        .into_iter()
        .filter(|operation| is_the_owners(operation) && operation.id.starts_with("list"));
    let mut tried = 0;
    for operation in owned {
        let path = operation.template.replace("{user_id}", &world.bob);
        let hers = operation.template.replace("{user_id}", &world.ada);
        let cursor = as_ada.get(&format!("{hers}?limit=1")).await.expect(200).text("next_cursor");
        let parameters = operation.value["parameters"].as_array().cloned().unwrap_or_default();
        let filters: Vec<String> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().expect("a name").to_owned())
            .map(|name| format!("{name}={}", loot(&world, &cursor, &name)))
            .collect();
        for chosen in 0..1_u32 << filters.len() {
            let query: Vec<&str> = (0..filters.len())
                .filter(|at| chosen & (1 << at) != 0)
                .map(|at| filters[at].as_str())
                .collect();
            let reply = as_bob.get(&format!("{path}?{}", query.join("&"))).await;
            let text = String::from_utf8_lossy(&reply.bytes).into_owned();
            assert!(
                !text.contains(&world.ada) && !text.contains(&world.order),
                "{query:?}: {text}"
            );
            let named = query.iter().any(|filter| filter.starts_with("user_id="));
            assert_eq!(reply.status.as_u16(), if named { 403 } else { 200 }, "{query:?}: {text}");
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried} combinations");
    world.service.finish().await;
}

/// What proxies and frameworks of others believe, nobody believes here.
#[tokio::test]
async fn no_header_makes_a_buyer_somebody_else() {
    let world = World::make().await;
    let as_bob = world.service.buyer(&world.bob);
    for (name, value) in [
        ("x-user-id", world.ada.as_str()),
        ("x-forwarded-user", &world.ada),
        ("x-role", "admin"),
        ("x-http-method-override", "PUT"),
        ("x-original-url", "/api/audit"),
        ("x-rewrite-url", "/api/audit"),
        ("forwarded", "for=127.0.0.1;by=admin"),
        ("x-forwarded-for", "127.0.0.1"),
        ("host", "admin.internal"),
        ("cookie", "role=admin; session=1"),
    ] {
        for path in ["/api/audit", "/api/users", &format!("/api/users/{}/wallet", world.ada)] {
            let request = as_bob.request(Method::GET, path).header(name, value);
            let reply = as_bob.send(request.body(bytes::Bytes::new()).expect("a request")).await;
            let reply = reply.expect("an answer");
            assert_eq!(reply.status.as_u16(), 403, "{name} on {path}: {reply:?}");
        }
    }
    world.service.finish().await;
}
