//! Crowds: many requests over a fixed number of keep-alive connections, all open before the first
//! request is sent.
//!
//! A visitor behaves as the contract asks of a client: what is answered with a documented "try the
//! same key again" goes back to the end of the line until its answer is definite.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flashdeal::adapters::http::{HttpClient, HttpReply};
use http::{Method, Request};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::api::{Reply, new_key};
use super::contract;
use super::postgres::TestDatabase;

/// How often one request is sent before its answer must have been definite.
const ATTEMPTS_MAX: usize = 40;

/// One `POST` that somebody wants to send.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// Where to.
    pub(crate) path: String,
    /// The `Idempotency-Key`, as it goes into the header.
    pub(crate) key: String,
    /// The body.
    pub(crate) body: Value,
}

impl Wish {
    /// An order with this body.
    pub(crate) fn order(key: &str, body: &Value) -> Wish {
        Wish { path: "/api/orders".to_owned(), key: key.to_owned(), body: body.clone() }
    }

    /// An order for one unit under a key of its own.
    pub(crate) fn unit(user: &str, sale: &str) -> Wish {
        Wish::order(&new_key(), &json!({ "user_id": user, "sale_id": sale }))
    }

    /// A deposit.
    pub(crate) fn deposit(key: &str, user: &str, amount: &str) -> Wish {
        Wish {
            path: format!("/api/users/{user}/wallet/deposits"),
            key: key.to_owned(),
            body: json!({ "amount": amount }),
        }
    }

    fn request(&self) -> Request<Bytes> {
        Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header("content-type", "application/json")
            .header("idempotency-key", &self.key)
            .body(Bytes::from(self.body.to_string()))
            .expect("a request")
    }
}

/// Sends every wish and returns the answers in the order of the wishes, judged by the contract.
pub(crate) async fn crowd(at: SocketAddr, connections: usize, wishes: Vec<Wish>) -> Vec<Reply> {
    let paths: Vec<String> = wishes.iter().map(|wish| wish.path.clone()).collect();
    let replies = race(at, connections, wishes).await;
    let judged = paths.iter().zip(replies).map(|(path, reply)| {
        let reply = reply_of(reply);
        contract::check(&Method::POST, path, &reply);
        reply
    });
    judged.collect()
}

/// The same without a judge: for servers that are no FlashDeal.
pub(crate) async fn race(at: SocketAddr, connections: usize, wishes: Vec<Wish>) -> Vec<HttpReply> {
    let connections = connections.min(wishes.len());
    let line = Arc::new(Line {
        waiting: Mutex::new((0..wishes.len()).map(|place| (place, 1)).collect()),
        wishes,
        start: Barrier::new(connections),
    });
    let mut visitors = JoinSet::new();
    for _ in 0..connections {
        visitors.spawn(visit(at, Arc::clone(&line)));
    }
    let mut answers = BTreeMap::new();
    while let Some(visitor) = visitors.join_next().await {
        answers.extend(visitor.expect("a visitor who reaches the end"));
    }
    assert_eq!(answers.len(), line.wishes.len(), "each wish has one answer");
    answers.into_values().collect()
}

/// Wishes by place, each with the number of the attempt that comes next.
struct Line {
    waiting: Mutex<VecDeque<(usize, usize)>>,
    wishes: Vec<Wish>,
    start: Barrier,
}

impl Line {
    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<(usize, usize)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn visit(at: SocketAddr, line: Arc<Line>) -> Vec<(usize, HttpReply)> {
    let mut client = HttpClient::connect(at).await.expect("a connection");
    line.start.wait().await;
    let mut answers = Vec::new();
    loop {
        let next = line.waiting().pop_front();
        let Some((place, attempt)) = next else {
            return answers;
        };
        let request = line.wishes[place].request();
        let reply = client.send(request).await.expect("an answer");
        if is_definite(&reply) {
            answers.push((place, reply));
        } else {
            assert!(attempt < ATTEMPTS_MAX, "never definite: {reply:?}");
            line.waiting().push_back((place, attempt + 1));
        }
    }
}

/// Whether this answer settles the attempt. Only what the contract documents for a service under
/// load may ask for another attempt, and it must say when.
fn is_definite(reply: &HttpReply) -> bool {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    let again = matches!(
        (reply.status.as_u16(), body["code"].as_str()),
        (409, Some("concurrent_conflict" | "request_in_progress")) | (503, Some("overloaded"))
    );
    let says_when = reply.headers.contains_key("retry-after");
    assert!(!again || says_when, "no Retry-After: {reply:?}");
    !again
}

/// An answer as tests read it.
pub(crate) fn reply_of(reply: HttpReply) -> Reply {
    let body = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    Reply { status: reply.status, headers: reply.headers, bytes: reply.body, body }
}

/// Makes users with money, past the door: thousands in one statement. Returns their ids.
pub(crate) async fn seed_buyers(database: &TestDatabase, count: i64, balance: &str) -> Vec<String> {
    let mut session = database.session().await;
    sqlx::query_scalar(
        "WITH made AS (
           INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, $1)
           RETURNING id, created_at
         ), filled AS (
           INSERT INTO wallets (user_id, balance, entry_count)
           SELECT id, $2::text::numeric, 1 FROM made
         ), deposited AS (
           INSERT INTO ledger_entries
             (user_id, number, id, type, amount, balance_after, created_at)
           SELECT id, 1, gen_random_uuid(), 'deposit', $2::text::numeric, $2::text::numeric,
                  created_at
           FROM made
         )
         SELECT id::text FROM made",
    )
    .bind(count)
    .bind(balance)
    .fetch_all(&mut session)
    .await
    .expect("buyers")
}
