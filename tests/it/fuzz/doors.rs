//! Input through the door: bodies, headers, queries and cursors of a running service. The judge of
//! every other test holds each answer against `openapi.yaml`.

use bytes::Bytes;
use flashdeal::adapters::http::HttpClient;
use http::{HeaderValue, Method, Request};
use serde_json::json;

use super::{escaped, feed};
use crate::support::Service;
use crate::support::api::new_key;
use crate::support::contract;
use crate::support::crowd::reply_of;

/// One connection that is made anew when an answer closed it.
struct Door<'a> {
    service: &'a Service,
    client: Option<HttpClient>,
}

impl Door<'_> {
    /// Sends a request whose answer must be one of the contract's, and no failure of ours.
    async fn knock(&mut self, request: Request<Bytes>, input: &[u8]) -> u16 {
        let (method, path) = (request.method().clone(), request.uri().to_string());
        let mut client = match self.client.take() {
            Some(client) => client,
            None => HttpClient::connect(self.service.running.address).await.expect("a connection"),
        };
        let reply = client.send(request).await;
        let reply = reply.unwrap_or_else(|error| panic!("{error}: {}", escaped(input)));
        let closes = reply.headers.get("connection").is_some_and(|value| value == "close");
        let reply = reply_of(reply);
        let status = reply.status.as_u16();
        assert!(status < 500, "{method} {path} with {}: {reply:?}", escaped(input));
        contract::check(&method, &path, &reply);
        self.client = (!closes).then_some(client);
        status
    }
}

#[tokio::test]
async fn no_body_moves_anything_that_it_does_not_say() {
    let service = Service::start().await;
    let (user, sale) = (service.api.user("50.00").await, service.api.sale("1.00", 40).await);
    let text = include_str!("json.txt").replace("USER", &user).replace("SALE", &sale);
    let paths =
        ["/api/orders", "/api/users", "/api/sales", &format!("/api/users/{user}/wallet/deposits")];
    let mut door = Door { service: &service, client: None };
    let mut turn = 0;
    feed("json", &text, 2_000, async |input| {
        turn += 1;
        let request = Request::builder()
            .method(Method::POST)
            .uri(paths[turn % paths.len()])
            .header("content-type", "application/json")
            .header("idempotency-key", new_key())
            .body(Bytes::copy_from_slice(input))
            .expect("a request");
        door.knock(request, input).await;
    })
    .await;
    service.finish().await;
}

/// Keys, traces and request ids as headers: whatever bytes a header may hold.
#[tokio::test]
async fn no_header_value_is_a_failure_of_ours() {
    let service = Service::start().await;
    let (user, sale) = (service.api.user("50.00").await, service.api.sale("1.00", 9).await);
    let body = Bytes::from(json!({ "user_id": user, "sale_id": sale }).to_string());
    let text = [include_str!("key.txt"), include_str!("traceparent.txt")].concat();
    let names =
        ["idempotency-key", "traceparent", "x-request-id", "authorization", "x-forwarded-for"];
    let mut door = Door { service: &service, client: None };
    let mut turn = 0;
    feed("header", &text, 400, async |input| {
        turn += 1;
        let Ok(value) = HeaderValue::from_bytes(input) else {
            return;
        };
        let request = Request::builder().method(Method::POST).uri("/api/orders");
        let request = request.header("content-type", "application/json");
        let request = request.header(names[turn % names.len()], value).body(body.clone());
        door.knock(request.expect("a request"), input).await;
    })
    .await;
    service.finish().await;
}

#[tokio::test]
async fn no_query_and_no_cursor_is_a_failure_of_ours() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, sale) = (api.user("50.00").await, api.sale("1.00", 9).await);
    for _ in 0..3 {
        api.buy(&new_key(), &user, &sale).await.expect(201);
    }
    let mut cursors = String::new();
    let entries = format!("/api/users/{user}/wallet/entries");
    for path in ["/api/orders", "/api/users", "/api/sales", &entries] {
        let page = api.get(&format!("{path}?limit=1")).await.expect(200);
        if let Some(cursor) = page.body["next_cursor"].as_str() {
            cursors.push_str(&format!("cursor={cursor}\nlimit=1&cursor={cursor}\n"));
        }
    }
    let text = include_str!("query.txt").replace("USER", &user).replace("SALE", &sale) + &cursors;
    let mut door = Door { service: &service, client: None };
    let mut turn = 0;
    feed("query", &text, 1_000, async |input| {
        turn += 1;
        let paths = ["/api/orders", "/api/users", "/api/sales", &entries];
        // What cannot stand in a request line is sent escaped, which is another input.
        let visible = |byte: &u8| (0x21..=0x7e).contains(byte) && *byte != b'#';
        let query: String = input
            .iter()
            .map(|byte| match visible(byte) {
                true => char::from(*byte).to_string(),
                false => format!("%{byte:02x}"),
            })
            .collect();
        let uri = format!("{}?{query}", paths[turn % paths.len()]);
        let Ok(request) = Request::builder().uri(&uri).body(Bytes::new()) else {
            return;
        };
        door.knock(request, input).await;
    })
    .await;
    service.finish().await;
}
