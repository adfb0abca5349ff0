//! One connection to an instance: sends a wish, reads what it is told, and complains at once about
//! an answer that the contract does not have.

use std::time::{Duration, Instant};

use bytes::Bytes;
use flashdeal::adapters::http::{ClientError, HttpClient, HttpReply};
use http::{Method, Request};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::board::Board;
use crate::journal::{Attempt, Told, Wish};
use crate::shop::Shop;
use crate::stage::Doors;
use crate::support::contract;
use crate::support::crowd::reply_of;

/// No answer of a living service takes longer: its request time-out, a freeze, a crowded machine.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Every so many answers one is held against `openapi.yaml`: that costs more than to answer.
const JUDGED_EACH: u64 = 64;

/// A connection that is opened when it is needed.
pub(crate) struct Line {
    instance: usize,
    doors: Doors,
    open: Option<(std::net::SocketAddr, HttpClient)>,
}

impl Line {
    /// To an instance, wherever it is.
    pub(crate) fn to(instance: usize, doors: &Doors) -> Line {
        Line { instance, doors: doors.clone(), open: None }
    }

    /// Sends a wish once and writes down what it was told.
    pub(crate) async fn send(&mut self, shop: &Shop, board: &Board, wish: &Wish) -> Attempt {
        let sent = Instant::now();
        let reply = tokio::time::timeout(ANSWER_MAX, self.exchange(shop, wish)).await;
        let told = match reply {
            Ok(Ok(reply)) => told(board, wish, reply),
            Ok(Err(ClientError::Connect(_))) => {
                board.answered("no connection");
                Told::NotNow { code: "no connection".to_owned(), nothing_taken: false }
            }
            Ok(Err(ClientError::Http(error))) if error.is_closed() || error.is_canceled() => {
                // An idle connection that the service has closed meanwhile.
                self.open = None;
                board.answered("closed connection, nothing sent");
                Told::Unknown
            }
            Ok(Err(_broken)) => {
                self.open = None;
                board.answered("no answer");
                Told::Unknown
            }
            Err(_elapsed) => {
                self.open = None;
                let (key, instance) = (&wish.key, self.instance);
                board.violation(format!(
                    "{key} had no answer of instance {instance} within {ANSWER_MAX:?}"
                ));
                Told::Unknown
            }
        };
        if let Told::Order { replayed, .. } = &told {
            board.acknowledged(self.instance, wish.sale);
            if !replayed {
                board.made_one();
            }
        }
        let done = Instant::now();
        Attempt { instance: self.instance, sent, done, told, other_body: false }
    }

    async fn exchange(&mut self, shop: &Shop, wish: &Wish) -> Result<HttpReply, ClientError> {
        let at = self.doors.address(self.instance);
        let mut client = match self.open.take() {
            Some((there, client)) if there == at => client,
            _ => HttpClient::connect(at).await?,
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/orders")
            .header("content-type", "application/json")
            .header("idempotency-key", &wish.key)
            .body(Bytes::from(wish.body(shop).to_string()))
            .expect("a request");
        let reply = client.send(request).await?;
        self.open = Some((at, client));
        Ok(reply)
    }
}

/// Reads an answer.
fn told(board: &Board, wish: &Wish, reply: HttpReply) -> Told {
    if board.requests().is_multiple_of(JUDGED_EACH) {
        contract::check(&Method::POST, "/api/orders", &reply_of(reply.clone()));
    }
    let replayed = reply.headers.contains_key("idempotent-replayed");
    if reply.status == 201 {
        board.answered(if replayed { "201 replayed" } else { "201" });
        return Told::Order { bytes: reply.body, replayed };
    }
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let (status, code, charged, retry) =
        (reply.status.as_u16(), text("code"), text("charged"), text("retry"));
    board.answered(&format!("{status} {code}"));
    let says_when = reply.headers.contains_key("retry-after");
    match (status, code.as_str(), charged.as_str(), retry.as_str()) {
        (
            400,
            "out_of_stock" | "insufficient_balance" | "purchase_limit_reached",
            "no",
            "same_key",
        )
        | (400, "order_expired", "no", "new_key") => Told::Refused(body),
        (422, "idempotency_key_reused", "yes", "new_key") => Told::Reused(body),
        (409, "concurrent_conflict", "no", "same_key")
        | (409, "request_in_progress", "unknown", "same_key")
        | (503, "overloaded" | "draining" | "database_unavailable", "unknown" | "no", "same_key")
            if says_when =>
        {
            Told::NotNow { code, nothing_taken: charged == "no" }
        }
        (503, "outcome_unknown", "unknown", "same_key") if says_when => Told::Unknown,
        _ => {
            board.violation(format!("{} was answered {status} {body}", wish.key));
            Told::Unknown
        }
    }
}

/// How a caller goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// Behind a whole request, without waiting for the answer.
    HangUp,
    /// In the middle of a request.
    HalfSent,
    /// Says nothing more and listens on, but only for a moment.
    HalfClose,
}

impl Leaving {
    /// Its name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Leaving::HangUp => "client: hang-up",
            Leaving::HalfSent => "client: hang-up in the middle of a request",
            Leaving::HalfClose => "client: half-close behind a request",
        }
    }
}

/// Sends a wish on a connection of its own and goes away after a moment.
pub(crate) async fn leave(
    doors: &Doors,
    instance: usize,
    (how, after): (Leaving, Duration),
    wish: &Wish,
    shop: &Shop,
) -> Attempt {
    let (sent, body) = (Instant::now(), wish.body(shop).to_string());
    let request = format!(
        "POST /api/orders HTTP/1.1\r\nhost: drill\r\ncontent-type: application/json\r\n\
         idempotency-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
        wish.key,
        body.len(),
    );
    if let Ok(mut stream) = TcpStream::connect(doors.address(instance)).await {
        let end = if how == Leaving::HalfSent { request.len() - 20 } else { request.len() };
        // Whether it arrived is what nobody knows.
        let _ = stream.write_all(&request.as_bytes()[..end]).await;
        if how == Leaving::HalfClose {
            let _ = stream.shutdown().await;
        }
        tokio::time::sleep(after).await;
    }
    Attempt { instance, sent, done: Instant::now(), told: Told::Unknown, other_body: false }
}
