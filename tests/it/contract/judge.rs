//! The judge, judged: answers that break the document in one place each must be refused, or every
//! other test means nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use crate::contract::DOCUMENT;
use crate::support::api::Reply;
use crate::support::contract::check;

/// An answer as it might have come.
pub(crate) fn reply(status: u16, content_type: &str, body: &Value) -> Reply {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: &str| {
        headers.insert(name, HeaderValue::from_str(value).expect("a header"));
    };
    set("content-type", content_type);
    set("x-request-id", body["instance"].as_str().unwrap_or("r-1"));
    set("etag", "\"5f1d3c2b4a69788796a5b4c3\"");
    set("cache-control", "public, max-age=1");
    set("location", "/api/orders/01a1fdfa-4600-7c3e-9a41-5d0e6f2b8c11");
    set("retry-after", "1");
    set("www-authenticate", "Bearer");
    Reply {
        status: StatusCode::from_u16(status).expect("a status"),
        headers,
        bytes: body.to_string().into(),
        body: body.clone(),
    }
}

fn passes(method: &Method, path: &str, reply: &Reply) -> bool {
    catch_unwind(AssertUnwindSafe(|| check(method, path, reply))).is_ok()
}

/// One way to be wrong.
type Damage = (&'static str, fn(&mut Reply));

fn rename(reply: &mut Reply, from: &str, to: &str) {
    let members = reply.body.as_object_mut().expect("an object");
    let value = members.remove(from).expect("a member");
    members.insert(to.to_owned(), value);
}

const ORDER_DAMAGE: &[Damage] = &[
    ("a member has another name", |r| rename(r, "total", "total_price")),
    ("a member is missing", |r| rename(r, "balance_after", "reference")),
    ("a member is new", |r| r.body["note"] = json!("x")),
    ("money is a number", |r| r.body["total"] = json!(49.9)),
    ("money has no decimals", |r| r.body["total"] = json!("49")),
    ("a null", |r| r.body["reference"] = Value::Null),
    ("an id in capitals", |r| r.body["id"] = json!("01A1FDFA-4600-7C3E-9A41-5D0E6F2B8C11")),
    ("an id that is none", |r| r.body["id"] = json!("7")),
    ("a time with three decimals", |r| r.body["created_at"] = json!("2026-11-21T12:00:00.000Z")),
    ("a time with an offset", |r| {
        r.body["created_at"] = json!("2026-11-21T12:00:00.000000+00:00");
    }),
    ("a quantity out of bounds", |r| r.body["quantity"] = json!(101)),
    ("a list", |r| r.body = json!([r.body])),
    ("nothing", |r| r.body = Value::Null),
    ("no Location", |r| drop(r.headers.remove("location"))),
    ("no X-Request-Id", |r| drop(r.headers.remove("x-request-id"))),
    ("no Content-Type", |r| drop(r.headers.remove("content-type"))),
    ("another Content-Type", |r| {
        r.headers.insert("content-type", HeaderValue::from_static("text/plain"));
    }),
    ("an undocumented status", |r| r.status = StatusCode::OK),
];

#[test]
fn an_order_that_is_wrong_in_one_place_is_refused() {
    let order = &DOCUMENT["components"]["examples"]["Order"]["value"];
    let good = reply(201, "application/json", order);
    assert!(passes(&Method::POST, "/api/orders", &good));
    for (what, damage) in ORDER_DAMAGE {
        let mut bad = good.clone();
        damage(&mut bad);
        assert!(!passes(&Method::POST, "/api/orders", &bad), "passed: {what}");
    }
}

const PROBLEM_DAMAGE: &[Damage] = &[
    ("the code's own member is missing", |r| {
        drop(r.body.as_object_mut().map(|m| m.remove("stock")))
    }),
    ("the member of another code", |r| r.body["balance"] = json!("1.00")),
    ("charged is missing", |r| rename(r, "charged", "stock")),
    ("charged has another value", |r| r.body["charged"] = json!(false)),
    ("a code that is not promised", |r| r.body["code"] = json!("sold_out")),
    ("a code of another shape", |r| r.body["code"] = json!("order_expired")),
    ("a title of another code", |r| r.body["title"] = json!("There is no such user")),
    ("a type of another code", |r| r.body["type"] = json!("/problems/internal")),
    ("another status in the body", |r| r.body["status"] = json!(409)),
    ("the instance is not the request", |r| r.body["instance"] = json!("other")),
    ("no instance", |r| drop(r.body.as_object_mut().map(|m| m.remove("instance")))),
    ("plain JSON", |r| {
        r.headers.insert("content-type", HeaderValue::from_static("application/json"));
    }),
];

#[test]
fn a_problem_that_is_wrong_in_one_place_is_refused() {
    let document = &*DOCUMENT;
    let response = &document["components"]["responses"]["OrderRefused"]["content"];
    let example = &response["application/problem+json"]["examples"]["out_of_stock"]["value"];
    let good = reply(400, "application/problem+json", example);
    assert!(passes(&Method::POST, "/api/orders", &good));
    for (what, damage) in PROBLEM_DAMAGE {
        let mut bad = good.clone();
        damage(&mut bad);
        assert!(!passes(&Method::POST, "/api/orders", &bad), "passed: {what}");
    }
}

/// What no operation promises has a shape, too.
#[test]
fn a_problem_of_routing_that_is_wrong_in_one_place_is_refused() {
    let body = json!({
        "type": "/problems/route_not_found", "title": "There is nothing at this path",
        "status": 404, "detail": "Nothing.", "code": "route_not_found", "instance": "r-1",
    });
    let good = reply(404, "application/problem+json", &body);
    assert!(passes(&Method::GET, "/nowhere", &good));
    assert!(!passes(&Method::POST, "/nowhere", &good), "a POST says charged and retry");
    let mut bad = good.clone();
    bad.body["note"] = json!("x");
    assert!(!passes(&Method::GET, "/nowhere", &bad));
    let found = reply(200, "application/json", &json!({}));
    assert!(!passes(&Method::GET, "/nowhere", &found), "an answer that nobody documented");
    assert!(!passes(&Method::DELETE, "/api/orders", &found));
}
