//! The authorization matrix, generated from `openapi.yaml`: every operation × every caller × whose
//! thing it is. An operation without a rule fails, and so does one whose document promises other
//! refusals than its rule.

use http::Method;
use serde_json::{Value, json};

use super::World;
use crate::contract::{Operation, operations};
use crate::support::api::{Api, Reply, new_key};
use crate::support::contract::raw;

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Everybody.
    Public,
    /// The operator.
    Operator,
    /// The shop's back end and the operator.
    Shop,
    /// The user it is about, the shop and the operator; another user is told 403.
    Owner,
    /// The same for an order; another user is told that there is none.
    OrderOwner,
}

/// Rule, then the status for those who may: when the thing is there, when it is not, when its id is
/// none. Where an operation has no id the three are one.
type Row = (&'static str, Rule, [u16; 3]);
const RULES: &[Row] = &[
    ("placeOrder", Rule::Owner, [201, 404, 400]),
    ("listOrders", Rule::Owner, [200, 200, 400]),
    ("getOrder", Rule::OrderOwner, [200, 404, 404]),
    ("createUser", Rule::Shop, [201; 3]),
    ("listUsers", Rule::Shop, [200; 3]),
    ("putUser", Rule::Shop, [200, 201, 404]),
    ("getUser", Rule::Shop, [200, 404, 404]),
    ("getWallet", Rule::Owner, [200, 404, 404]),
    ("listWalletEntries", Rule::Owner, [200, 404, 404]),
    ("createDeposit", Rule::Operator, [201, 404, 404]),
    ("createSale", Rule::Operator, [201; 3]),
    ("listSales", Rule::Public, [200; 3]),
    ("getSale", Rule::Public, [200, 404, 404]),
    ("getAudit", Rule::Operator, [200; 3]),
    ("getLivez", Rule::Public, [200; 3]),
    ("getReadyz", Rule::Public, [200; 3]),
    ("getMetrics", Rule::Operator, [200; 3]),
    ("getOpenapi", Rule::Public, [200; 3]),
    ("getDocs", Rule::Public, [200; 3]),
    ("getHome", Rule::Public, [200; 3]),
    ("getProblem", Rule::Public, [200, 404, 404]),
];

/// Whether a buyer may call this operation for its own things and nobody else's.
pub(super) fn is_the_owners(operation: &Operation) -> bool {
    row(operation).1 == Rule::Owner
}

fn row(operation: &Operation) -> &'static Row {
    let row = RULES.iter().find(|(id, ..)| *id == operation.id);
    row.unwrap_or_else(|| panic!("{} has no rule: who may call it?", operation.id))
}

/// Whose thing a call is about; the buyer who calls is Ada.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Own,
    Foreign,
    Absent,
    Malformed,
}
const TARGETS: [Target; 4] = [Target::Own, Target::Foreign, Target::Absent, Target::Malformed];

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    Garbage,
    Buyer,
    Shop,
    Admin,
}

fn expected((_, rule, [found, absent, malformed]): &Row, who: Who, target: Target) -> u16 {
    let may = match target {
        Target::Own | Target::Foreign => *found,
        Target::Absent => *absent,
        Target::Malformed => *malformed,
    };
    match (rule, who) {
        (Rule::Public, _) | (_, Who::Admin) => may,
        (_, Who::Nobody | Who::Garbage) => 401,
        (Rule::Operator, _) | (Rule::Shop, Who::Buyer) => 403,
        (_, Who::Shop) => may,
        (Rule::Owner, Who::Buyer) if matches!(target, Target::Foreign | Target::Absent) => 403,
        (Rule::OrderOwner, Who::Buyer) if target != Target::Own => 404,
        (Rule::Owner | Rule::OrderOwner, Who::Buyer) => may,
    }
}

/// Ids by the name that they have in paths, queries and bodies.
struct Ids {
    user: String,
    order: String,
    sale: String,
    code: &'static str,
}

impl Ids {
    fn of(world: &World, bobs_order: &str, target: Target) -> Ids {
        // Another for each call: putUser makes what is absent.
        let absent = &*uuid::Uuid::now_v7().to_string();
        let (user, order, sale, code) = match target {
            Target::Own => (&*world.ada, &*world.order, &*world.sale, "forbidden"),
            Target::Foreign => (&*world.bob, bobs_order, &*world.sale, "forbidden"),
            Target::Absent => (absent, absent, absent, "none"),
            Target::Malformed => ("7", "7", "7", "7"),
        };
        Ids { user: user.into(), order: order.into(), sale: sale.into(), code }
    }

    /// What stands for this name; an id that nobody thought of fails.
    fn value(&self, name: &str) -> &str {
        match name {
            "user_id" => &self.user,
            "order_id" => &self.order,
            "sale_id" => &self.sale,
            "code" => self.code,
            other => panic!("{other}: a parameter without a value"),
        }
    }
}

/// The path of an operation: every path parameter filled, and a query's `user_id`.
fn path(operation: &Operation, ids: &Ids) -> String {
    let mut path = operation.template.clone();
    for parameter in operation.value["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().expect("a name");
        match parameter["in"].as_str() {
            Some("path") => path = path.replace(&format!("{{{name}}}"), ids.value(name)),
            Some("query") if name == "user_id" => path = format!("{path}?user_id={}", ids.user),
            _ => {}
        }
    }
    assert!(!path.contains('{'), "{path}: a parameter without a value");
    path
}

/// A body that would do what the operation is for.
fn body(operation: &Operation, world: &World, ids: &Ids) -> Value {
    match operation.id.as_str() {
        "placeOrder" => json!({ "user_id": ids.user, "sale_id": world.sale }),
        "createDeposit" => json!({ "amount": "1.00" }),
        "createSale" => json!({ "name": "lamp", "unit_price": "1.00", "stock": 1 }),
        "createUser" | "putUser" => json!({}),
        other => panic!("{other} has a body that nobody wrote"),
    }
}

/// The answers to an operation by every method that it has.
async fn call(api: &Api, world: &World, operation: &Operation, ids: &Ids) -> Vec<Reply> {
    let path = path(operation, ids);
    let method: Method = operation.method.parse().expect("a method");
    if method == Method::GET {
        let head = api.request(Method::HEAD, &path).body(bytes::Bytes::new());
        let head = api.send(head.expect("a request")).await.expect("an answer");
        return vec![api.get(&path).await, head];
    }
    let body = body(operation, world, ids);
    let key = new_key();
    vec![api.try_write(method, &path, Some(&key), &body).await.expect("an answer")]
}

/// What an answer tells a stranger: everything but the id of the request.
fn words(reply: &Reply) -> (u16, String, Value) {
    (reply.status.as_u16(), reply.code(), reply.body["detail"].clone())
}

async fn judge(world: &World, bobs_order: &str, who: Who, api: &Api) {
    for operation in operations() {
        let row = row(&operation);
        let mut told = Vec::new();
        for target in TARGETS {
            let ids = Ids::of(world, bobs_order, target);
            let wanted = expected(row, who, target);
            for reply in call(api, world, &operation, &ids).await {
                let at = format!("{} by {who:?}, {target:?}", operation.id);
                assert_eq!(reply.status.as_u16(), wanted, "{at}: {reply:?}");
                let challenged = reply.header("www-authenticate").is_some();
                assert_eq!(challenged, wanted == 401, "{at}: {reply:?}");
                told.push((target, reply));
            }
        }
        // A buyer cannot tell what is another's from what is not there at all.
        let of = |wanted| told.iter().filter(move |(target, _)| *target == wanted);
        for ((_, foreign), (_, absent)) in of(Target::Foreign).zip(of(Target::Absent)) {
            let owned = matches!(row.1, Rule::Owner | Rule::OrderOwner);
            if who == Who::Buyer && owned {
                assert_eq!(words(foreign), words(absent), "{}", operation.id);
            }
        }
    }
}

#[tokio::test]
async fn every_operation_answers_every_caller_about_every_thing_by_its_rule() {
    let world = World::make().await;
    let service = &world.service;
    let order = json!({ "sale_id": world.sale });
    let made = service.buyer(&world.bob).post("/api/orders", &new_key(), &order).await;
    let bobs_order = made.expect(201).id();
    let garbage = service.api.with_token("eyJhbGciOiJIUzI1NiJ9.e30.Z2FyYmFnZQ");
    let strangers = [
        (Who::Nobody, service.api.clone()),
        (Who::Garbage, garbage),
        (Who::Buyer, service.buyer(&world.ada)),
    ];
    for (who, api) in &strangers {
        judge(&world, &bobs_order, *who, api).await;
    }
    // None of that touched Bob: one order of 1.00, nothing else.
    let admin = service.admin();
    assert_eq!(admin.balance(&world.bob).await, "99.00");
    let path = format!("/api/users/{}/wallet/entries", world.bob);
    assert_eq!(admin.get(&path).await.body["items"].as_array().map(Vec::len), Some(2));
    judge(&world, &bobs_order, Who::Shop, &service.shop()).await;
    judge(&world, &bobs_order, Who::Admin, &admin).await;
    world.service.finish().await;
}

/// Each rule has its operation, and the document promises the refusals of the rule and no others.
#[test]
fn the_document_promises_the_refusals_of_the_rules() {
    let operations = operations();
    assert_eq!(operations.len(), RULES.len(), "each rule has one operation");
    for operation in &operations {
        let (id, rule, [_, absent, malformed]) = row(operation);
        let promised = |status: &str| !operation.value["responses"][status].is_null();
        let public = operation.value["security"] == json!([]);
        assert_eq!(public, *rule == Rule::Public, "{id}: security");
        assert_eq!(promised("401"), !public, "{id}: 401");
        let forbids = matches!(rule, Rule::Operator | Rule::Shop | Rule::Owner);
        assert_eq!(promised("403"), forbids, "{id}: 403");
        // With FLASHDEAL_OPS_LISTEN these are on another address.
        let apart = matches!(*id, "getAudit" | "getMetrics");
        assert_eq!(promised("404"), apart || *absent == 404 || *malformed == 404, "{id}: 404");
    }
    // The table that people read names the same roles.
    let document = raw();
    let description = document["info"]["description"].as_str().expect("a description");
    for role in ["| none |", "| `buyer` |", "| `service` |", "| `admin` |"] {
        assert!(description.contains(role), "{role}");
    }
}
