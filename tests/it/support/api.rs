//! Calls over HTTP. Every answer is judged by `openapi.yaml` before a test sees it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flashdeal::adapters::http::{ClientError, HttpClient, HttpReply};
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};

use super::contract;

/// An answer with its body as JSON (`Null` when it is none).
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body as it came.
    pub(crate) bytes: Bytes,
    /// The body as JSON.
    pub(crate) body: Value,
}

impl Reply {
    fn of(reply: HttpReply) -> Reply {
        let body = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        Reply { status: reply.status, headers: reply.headers, bytes: reply.body, body }
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether this is the same answer again.
    pub(crate) fn replayed(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    /// The code of a problem, or the status of an answer that is none.
    pub(crate) fn code(&self) -> String {
        match self.body["code"].as_str() {
            Some(code) => code.to_owned(),
            None => self.status.as_u16().to_string(),
        }
    }

    /// The id of what was made.
    pub(crate) fn id(&self) -> String {
        self.text("id")
    }

    /// A text member.
    pub(crate) fn text(&self, member: &str) -> String {
        let text = self.body[member].as_str();
        text.unwrap_or_else(|| panic!("{member} is missing in {self:?}")).to_owned()
    }

    /// Panics unless the status is this.
    pub(crate) fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// Panics unless this is a problem with this status and code, and says this of the key.
    pub(crate) fn refused(self, status: u16, code: &str, charged: &str, retry: &str) -> Reply {
        let found = (self.status.as_u16(), self.code(), &self.body["charged"], &self.body["retry"]);
        let wanted = (status, code.to_owned(), &json!(charged), &json!(retry));
        assert_eq!(found, wanted, "{self:?}");
        self
    }
}

/// A caller: where the service is, and with which token.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    address: SocketAddr,
    token: Option<String>,
}

/// A key that no test has used.
pub(crate) fn new_key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("key-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Api {
    /// A caller without a token.
    pub(crate) fn at(address: SocketAddr) -> Api {
        Api { address, token: None }
    }

    /// The same service, called with a token.
    pub(crate) fn with_token(&self, token: &str) -> Api {
        Api { address: self.address, token: Some(token.to_owned()) }
    }

    /// Where the service is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends any request on a connection of its own; the answer is judged by the contract.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Reply, ClientError> {
        let (method, path) = (request.method().clone(), request.uri().to_string());
        let reply = Reply::of(HttpClient::connect(self.address).await?.send(request).await?);
        contract::check(&method, &path, &reply);
        Ok(reply)
    }

    /// A request with this caller's token.
    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let builder = Request::builder().method(method).uri(path);
        match &self.token {
            Some(token) => builder.header("authorization", format!("Bearer {token}")),
            None => builder,
        }
    }

    /// `GET`
    pub(crate) async fn get(&self, path: &str) -> Reply {
        // The present, not a stored answer: tests look at what they have just done.
        let request = self.request(Method::GET, path).header("cache-control", "no-cache");
        self.send(request.body(Bytes::new()).expect("a request")).await.expect("an answer")
    }

    /// `POST` or `PUT` with a JSON body and perhaps a key.
    pub(crate) async fn try_write(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Result<Reply, ClientError> {
        let mut builder = self.request(method, path).header("content-type", "application/json");
        if let Some(key) = key {
            builder = builder.header("idempotency-key", key);
        }
        let body = Bytes::from(body.to_string());
        self.send(builder.body(body).expect("a request")).await
    }

    /// `POST` with a key.
    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> Reply {
        self.try_write(Method::POST, path, Some(key), body).await.expect("an answer")
    }

    /// `POST` with a body as it stands, for what is no JSON.
    pub(crate) async fn post_raw(&self, path: &str, key: &str, body: &str) -> Reply {
        let builder = self
            .request(Method::POST, path)
            .header("content-type", "application/json")
            .header("idempotency-key", key);
        let request = builder.body(Bytes::from(body.to_owned())).expect("a request");
        self.send(request).await.expect("an answer")
    }

    /// `PUT`
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Reply {
        self.try_write(Method::PUT, path, None, body).await.expect("an answer")
    }

    /// Places an order for one unit.
    pub(crate) async fn buy(&self, key: &str, user: &str, sale: &str) -> Reply {
        self.post("/api/orders", key, &json!({ "user_id": user, "sale_id": sale })).await
    }

    /// Makes a user with money (`"0.00"` for none); returns the id.
    pub(crate) async fn user(&self, balance: &str) -> String {
        let body = json!({ "opening_balance": balance });
        self.post("/api/users", &new_key(), &body).await.expect(201).id()
    }

    /// Opens a live sale; returns the id.
    pub(crate) async fn sale(&self, price: &str, stock: u32) -> String {
        self.sale_with(json!({ "unit_price": price, "stock": stock })).await
    }

    /// Opens a sale with these members; returns the id.
    pub(crate) async fn sale_with(&self, mut members: Value) -> String {
        if members["name"].is_null() {
            members["name"] = json!("Test item");
        }
        self.post("/api/sales", &new_key(), &members).await.expect(201).id()
    }

    /// Units left.
    pub(crate) async fn stock(&self, sale: &str) -> u64 {
        let reply = self.get(&format!("/api/sales/{sale}")).await.expect(200);
        reply.body["stock"].as_u64().expect("stock")
    }

    /// What a series of the service stands at; 0 where it was never counted.
    pub(crate) async fn counted(&self, series: &str) -> u64 {
        let page = self.get("/metrics").await.expect(200).bytes;
        let page = String::from_utf8_lossy(&page).into_owned();
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    /// What a wallet holds.
    pub(crate) async fn balance(&self, user: &str) -> String {
        self.get(&format!("/api/users/{user}/wallet")).await.expect(200).text("balance")
    }
}
