//! HTTP as it comes: paths and methods that nobody has, headers of every answer, bodies by every
//! road, pages, bytes that are no HTTP, requests that hide others, sockets that mean harm, and too
//! many of them.

mod bodies;
mod floods;
mod headers;
mod hostile;
mod ops;
mod pages;
mod smuggling;
mod wire;

use bytes::Bytes;
use flashdeal::adapters::http::{HttpClient, HttpReply, ROUTES};
use http::{Method, Request};
use serde_json::json;

use crate::support::Service;
use crate::support::api::{Api, new_key};

/// Sends what the judge does not know (preflights, other addresses); nobody judges the answer.
pub(crate) async fn unjudged(api: &Api, request: Request<Bytes>) -> HttpReply {
    let mut client = HttpClient::connect(api.address()).await.expect("a connection");
    client.send(request).await.expect("an answer")
}

/// Reads a file behind a page: none of them is an operation, so nobody judges it.
pub(crate) async fn file(api: &Api, path: &str) -> HttpReply {
    let request = Request::builder().uri(path).body(Bytes::new());
    unjudged(api, request.expect("a request")).await
}

/// A header of an answer as text.
pub(crate) fn text<'a>(reply: &'a HttpReply, name: &str) -> &'a str {
    let value = reply.headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

#[tokio::test]
async fn a_path_that_nobody_has_is_a_problem_and_the_old_word_is_explained() {
    let service = Service::start().await;
    let api = &service.api;
    for path in [
        "/api",
        "/api/",
        "/api/order",
        "/api/ORDERS",
        "/api//orders",
        "/api/orders//",
        "/api/orders/x/y",
        "/api/users/x/wallet/entries/y",
        "/api/sales/x/orders",
        "/index.html",
        "/.env",
        "/docs/a/b",
        "/docs/none.js",
        "/assets/none.js",
        "/assets/..%2fopenapi.yaml",
        "/problems/none",
        "/problems",
        "/metrics/x",
        "/livez/x",
        "//",
        "/%2e%2e/",
    ] {
        let reply = api.get(path).await.expect(404);
        assert_eq!(reply.code(), "route_not_found", "{path}");
        assert!(!reply.text("detail").contains("POST /api/orders"), "{path}");
        assert!(reply.body["charged"].is_null(), "{path}");
    }
    let posted = api.post("/api/order", &new_key(), &json!({})).await;
    posted.refused(404, "route_not_found", "no", "never");
    for path in ["/api/purchase", "/api/purchase/", "/api/purchases", "/api/purchases/"] {
        let replies = [api.get(path).await, api.post(path, &new_key(), &json!({})).await];
        for reply in replies {
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (404, "route_not_found"));
            assert!(reply.text("detail").contains("POST /api/orders"), "{reply:?}");
        }
    }
    service.finish().await;
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_a_problem_with_allow() {
    let service = Service::start().await;
    let api = &service.api;
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"];
    for route in ROUTES {
        let path = route.template.replace(['{', '}'], "");
        let has: Vec<&str> = route.allow.split(", ").collect();
        for method in methods.into_iter().filter(|method| !has.contains(method)) {
            for path in [path.clone(), format!("{}/", path.trim_end_matches('/'))] {
                let method: Method = method.parse().expect("a method");
                let request = api.request(method.clone(), &path).body(Bytes::new());
                let reply = api.send(request.expect("a request")).await.expect("an answer");
                assert_eq!(reply.status.as_u16(), 405, "{method} {path}");
                assert_eq!(reply.header("allow"), Some(route.allow), "{method} {path}");
                if method != Method::HEAD {
                    assert_eq!(reply.code(), "method_not_allowed", "{method} {path}");
                }
                let is_post = method == Method::POST;
                assert_eq!(reply.body["charged"] == "no", is_post, "{method} {path}");
            }
        }
    }
    service.finish().await;
}

#[tokio::test]
async fn head_answers_as_get_does_but_for_the_body() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, sale) = (api.user("9.00").await, api.sale("1.00", 9).await);
    let order = api.buy(&new_key(), &user, &sale).await.expect(201).id();
    for route in ROUTES.iter().filter(|route| route.allow.contains("GET")) {
        let mut path = route.template.to_owned();
        for (name, value) in [
            ("{user_id}", user.as_str()),
            ("{sale_id}", &sale),
            ("{order_id}", &order),
            ("{code}", "internal"),
            ("/assets/{file}", "/assets/app.js"),
            ("/docs/{file}", "/docs/swagger-ui.css"),
        ] {
            path = path.replace(name, value);
        }
        let missing = format!("{path}{}7", if path.ends_with('/') { "" } else { "/" });
        for path in [path, missing, format!("{}?limit=x", route.template)] {
            let ask = async |method: Method| {
                let request = Request::builder().method(method).uri(&path);
                let request = request.header("x-request-id", "same").body(Bytes::new());
                unjudged(api, request.expect("a request")).await
            };
            let (got, head) = (ask(Method::GET).await, ask(Method::HEAD).await);
            assert_eq!(got.status, head.status, "{path}");
            assert!(head.body.is_empty() && !got.body.is_empty(), "{path}");
            let (mut got, mut head) = (got.headers, head.headers);
            for headers in [&mut got, &mut head] {
                headers.remove("date");
                // What is counted may have grown meanwhile.
                if path.starts_with("/metrics") {
                    headers.remove("content-length");
                }
            }
            assert_eq!(got, head, "{path}");
        }
    }
    service.finish().await;
}
