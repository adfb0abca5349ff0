//! Who may do what, in mode `jwt`: every operation of the document for every role, two users
//! against each other (`own`), and forged tokens (`tokens`).

mod own;
mod tokens;

use flashdeal::adapters::token::Caller;
use http::Method;
use serde_json::{Value, json};

use crate::contract::{DOCUMENT, Operation, operations};
use crate::support::Service;
use crate::support::api::{Api, Reply, new_key};
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

/// One operation's rule: statuses for nobody, the buyer whose thing it is, another buyer, the
/// shop's back end and the operator. `ALL` marks what is public.
type Rule = (&'static str, [u16; 5]);
const ALL: [u16; 5] = [200; 5];
const RULES: &[Rule] = &[
    ("placeOrder", [401, 201, 403, 201, 201]),
    ("listOrders", [401, 200, 403, 200, 200]),
    ("getOrder", [401, 200, 404, 200, 200]),
    ("createUser", [401, 403, 403, 201, 201]),
    ("listUsers", [401, 403, 403, 200, 200]),
    ("putUser", [401, 403, 403, 200, 200]),
    ("getUser", [401, 403, 403, 200, 200]),
    ("getWallet", [401, 200, 403, 200, 200]),
    ("listWalletEntries", [401, 200, 403, 200, 200]),
    ("createDeposit", [401, 403, 403, 403, 201]),
    ("createSale", [401, 403, 403, 403, 201]),
    ("listSales", ALL),
    ("getSale", ALL),
    ("getAudit", [401, 403, 403, 403, 200]),
    ("getLivez", ALL),
    ("getReadyz", ALL),
    ("getMetrics", [401, 403, 403, 403, 200]),
    ("getOpenapi", ALL),
    ("getDocs", ALL),
    ("getHome", ALL),
    ("getProblem", ALL),
];

/// A request of this operation that speaks of Ada's things.
async fn call(world: &World, api: &Api, operation: &Operation) -> Reply {
    let mut path = operation.template.clone();
    for (name, value) in [
        ("{user_id}", world.ada.as_str()),
        ("{order_id}", &world.order),
        ("{sale_id}", &world.sale),
        ("{code}", "forbidden"),
    ] {
        path = path.replace(name, value);
    }
    assert!(!path.contains('{'), "{path}: a parameter without a value");
    if operation.id == "listOrders" {
        path = format!("{path}?user_id={}", world.ada);
    }
    let body = match operation.id.as_str() {
        "placeOrder" => json!({ "user_id": world.ada, "sale_id": world.sale }),
        "createDeposit" => json!({ "amount": "1.00" }),
        "createSale" => json!({ "name": "lamp", "unit_price": "1.00", "stock": 1 }),
        _ => json!({}),
    };
    let method: Method = operation.method.parse().expect("a method");
    if method == Method::GET {
        return api.get(&path).await;
    }
    let key = new_key();
    let sent = api.try_write(method, &path, Some(&key), &body);
    sent.await.expect("an answer")
}

/// The document decides which operations there are: one without a rule here fails.
#[tokio::test]
async fn every_operation_answers_every_role_by_its_rule() {
    let world = World::make().await;
    let (service, operations) = (&world.service, operations());
    let callers = [
        ("nobody", service.api.clone()),
        ("the owner", service.buyer(&world.ada)),
        ("another buyer", service.buyer(&world.bob)),
        ("the service", service.shop()),
        ("the admin", service.admin()),
    ];
    assert_eq!(operations.len(), RULES.len(), "each operation has one rule");
    for operation in &operations {
        let rule = RULES.iter().find(|(id, _)| *id == operation.id);
        let (_, statuses) = rule.unwrap_or_else(|| panic!("{} has no rule", operation.id));
        let public = operation.value["security"] == json!([]);
        assert_eq!(public, statuses[0] != 401, "{}: the document says otherwise", operation.id);
        for ((name, api), status) in callers.iter().zip(statuses) {
            let reply = call(&world, api, operation).await;
            assert_eq!(reply.status.as_u16(), *status, "{} by {name}: {reply:?}", operation.id);
        }
    }
    world.service.finish().await;
}

/// The table that people read says the same as the one that is tested.
#[test]
fn the_documents_table_of_roles_names_every_role() {
    let description = DOCUMENT["info"]["description"].as_str().expect("a description").to_owned();
    for role in ["| none |", "| `buyer` |", "| `service` |", "| `admin` |"] {
        assert!(description.contains(role), "{role}");
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
