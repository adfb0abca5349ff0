//! Ways into the service. Here: HTTP, with everything behind it, on one keep-alive connection.

use bytes::Bytes;
use flashdeal::adapters::http::HttpClient;
use http::{Method, Request};
use serde_json::{Value, json};

use super::script::{Script, TopUp, Until, Window, Wish};
use super::sql;
use super::world::Seen;
use crate::support::contract;
use crate::support::crowd::reply_of;
use crate::support::postgres::TestDatabase;

/// Nobody's id, and no sale's.
pub(super) const NOBODY: &str = "0190a000-0000-7000-8000-00000000ffff";

/// A way in.
pub(super) trait Door {
    /// Arranges a new world; every later step is about it.
    async fn open(&mut self, script: &Script);
    /// Places an order.
    async fn place(&mut self, wish: &Wish, key: &str, spelling: Spelling) -> Seen;
    /// Makes a deposit.
    async fn deposit(&mut self, top_up: &TopUp, key: &str) -> Seen;
    /// Cents of each user, units of each sale.
    async fn left(&mut self) -> (Vec<u64>, Vec<u32>);
}

/// One meaning can be written in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// A quantity of one is left out.
    Terse,
    /// The key is quoted, the quantity written.
    Full,
}

/// When windows open and close, and what `valid_until` says.
pub(super) const LONG_AGO: &str = "2001-01-01T00:00:00Z";
pub(super) const A_YEAR_LATER: &str = "2002-01-01T00:00:00Z";
pub(super) const FAR_AWAY: &str = "2999-01-01T00:00:00Z";

impl Window {
    /// First moment inside, first moment behind.
    pub(super) fn bounds(self) -> (&'static str, Option<&'static str>) {
        match self {
            Window::Open => (LONG_AGO, None),
            Window::Ended => (LONG_AGO, Some(A_YEAR_LATER)),
            Window::Upcoming => (FAR_AWAY, None),
        }
    }
}

impl Until {
    /// The member, if there is one.
    pub(super) fn text(self) -> Option<&'static str> {
        match self {
            Until::Absent => None,
            Until::Past => Some(LONG_AGO),
            Until::Future => Some(FAR_AWAY),
        }
    }
}

/// A caller's reference.
pub(super) fn reference(n: u8) -> String {
    format!("cart {n}")
}

/// Over HTTP, on one keep-alive connection.
pub(super) struct HttpDoor {
    client: HttpClient,
    session: sqlx::PgConnection,
    users: Vec<String>,
    sales: Vec<String>,
}

impl HttpDoor {
    pub(super) async fn new(address: std::net::SocketAddr, database: &TestDatabase) -> HttpDoor {
        HttpDoor {
            client: HttpClient::connect(address).await.expect("a connection"),
            session: database.session().await,
            users: Vec::new(),
            sales: Vec::new(),
        }
    }

    async fn post(&mut self, path: &str, key: &str, body: &Value) -> Seen {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("content-type", "application/json")
            .header("idempotency-key", key)
            .body(Bytes::from(body.to_string()));
        let reply = self.client.send(request.expect("a request")).await;
        let reply = reply_of(reply.expect("an answer"));
        contract::check(&Method::POST, path, &reply);
        let made = reply.status == 201;
        Seen {
            status: reply.status.as_u16(),
            code: if made { "made".to_owned() } else { reply.code() },
            replayed: reply.replayed(),
            receipt: String::from_utf8_lossy(&reply.bytes).into_owned(),
            members: reply.body,
        }
    }
}

impl Door for HttpDoor {
    async fn open(&mut self, script: &Script) {
        self.users = sql::make_users(&mut self.session, script).await;
        self.sales = sql::make_sales(&mut self.session, script).await;
    }

    async fn place(&mut self, wish: &Wish, key: &str, spelling: Spelling) -> Seen {
        let user = self.users.get(wish.user).map_or(NOBODY, String::as_str);
        let sale = self.sales.get(wish.sale).map_or(NOBODY, String::as_str);
        let mut body = json!({ "user_id": user, "sale_id": sale });
        if wish.quantity != 1 || spelling == Spelling::Full {
            body["quantity"] = json!(wish.quantity);
        }
        if let Some(n) = wish.reference {
            body["reference"] = json!(reference(n));
        }
        if let Some(until) = wish.until.text() {
            body["valid_until"] = json!(until);
        }
        match spelling {
            Spelling::Terse => self.post("/api/orders", key, &body).await,
            Spelling::Full => self.post("/api/orders", &format!("\"{key}\""), &body).await,
        }
    }

    async fn deposit(&mut self, top_up: &TopUp, key: &str) -> Seen {
        let user = self.users.get(top_up.user).map_or(NOBODY, String::as_str);
        let path = format!("/api/users/{user}/wallet/deposits");
        let mut body = json!({ "amount": super::world::money(top_up.cents) });
        if let Some(n) = top_up.reference {
            body["reference"] = json!(reference(n));
        }
        self.post(&path, key, &body).await
    }

    async fn left(&mut self) -> (Vec<u64>, Vec<u32>) {
        sql::left(&mut self.session, &self.users, &self.sales).await
    }
}
