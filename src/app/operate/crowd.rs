//! Many buyers who press Buy, over a number of connections.
//!
//! A closed loop: each connection has one press at a time and takes the next one when that is
//! decided, so it shows what a service can do and not how it queues. The buyers obey the rule for
//! clients: a press that was not decided is sent again with its key and body until it is, the time
//! is over, or [`ATTEMPTS_MAX`] is reached.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use super::latency::Latencies;
use crate::adapters::http::{ClientError, HttpClient, HttpReply};
use crate::domain::id::{OrderId, SaleId, UserId};

/// How often one press is sent before its buyer gives up.
const ATTEMPTS_MAX: u32 = 20;
/// The longest that a buyer waits between two attempts, whatever the service asks for.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Between two attempts when the service named no time, or there was no answer at all.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two looks at how many presses are decided.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A buyer's decision: the same key as often as it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Press {
    /// Who.
    pub buyer: UserId,
    /// The key.
    pub key: Uuid,
}

/// What is pressed where.
#[derive(Debug, Clone)]
pub struct Crowd {
    /// The service.
    pub address: SocketAddr,
    /// The sale.
    pub sale_id: SaleId,
    /// Presses, in the order in which connections take them.
    pub presses: Arc<[Press]>,
    /// Connections.
    pub connections: u16,
    /// For all presses together.
    pub time_limit: Duration,
    /// For one answer.
    pub answer_max: Duration,
}

/// How a press ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It made this order.
    Made(OrderId),
    /// It was answered with the order that an earlier attempt with its key had made.
    Replayed(OrderId),
    /// It was refused for good, with this code.
    Refused(String),
    /// It was given up; the last word was this.
    Undecided(String),
}

/// What came of it all.
#[derive(Debug, Default)]
pub struct Tally {
    /// How each press ended, by its place; presses that nobody came to are missing.
    pub outcomes: Vec<(usize, Outcome)>,
    /// Times of answers with an order.
    pub order_times: Latencies,
    /// Times of all other answers.
    pub other_times: Latencies,
    /// Attempts that were to be tried again, by code.
    pub again: BTreeMap<String, u64>,
    /// From the first press to the last answer that made an order.
    pub last_order: Option<Duration>,
    /// From the first press to the last answer.
    pub lasted: Duration,
}

impl Crowd {
    /// Opens the connections, drives them until every press has ended or the time is over, and
    /// tells how many presses have ended now and then.
    ///
    /// # Errors
    /// When a first connection cannot be opened.
    pub async fn press(self, mut watch: impl FnMut(usize)) -> Result<Tally, ClientError> {
        let mut clients = Vec::with_capacity(self.connections.into());
        for _ in 0..self.connections {
            clients.push(HttpClient::connect(self.address).await?);
        }
        let (next, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let began = Instant::now();
        let mut buyers = JoinSet::new();
        for client in clients {
            let (next, ended) = (Arc::clone(&next), Arc::clone(&ended));
            let (crowd, client) = (self.clone(), Some(client));
            let tally = Tally::default();
            buyers.spawn(Lane { crowd, client, tally, began }.run(next, ended));
        }
        let mut all = Tally::default();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                done = buyers.join_next() => match done {
                    Some(Ok(tally)) => all.add(tally),
                    Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
                    None => break,
                },
                _ = look.tick() => watch(ended.load(Ordering::Relaxed)),
            }
        }
        all.lasted = began.elapsed();
        Ok(all)
    }
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.outcomes.extend(other.outcomes);
        self.order_times.append(other.order_times);
        self.other_times.append(other.other_times);
        for (code, count) in other.again {
            *self.again.entry(code).or_default() += count;
        }
        self.last_order = self.last_order.max(other.last_order);
    }
}

/// One connection and those who use it.
struct Lane {
    crowd: Crowd,
    client: Option<HttpClient>,
    tally: Tally,
    began: Instant,
}

/// What one answer means.
enum Word {
    Final(Outcome),
    Again { code: String, pause: Duration },
}

impl Lane {
    async fn run(mut self, next: Arc<AtomicUsize>, ended: Arc<AtomicUsize>) -> Tally {
        let deadline = self.began + self.crowd.time_limit;
        while Instant::now() < deadline {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(press) = self.crowd.presses.get(at).copied() else { break };
            let outcome = self.settle(press, deadline).await;
            self.tally.outcomes.push((at, outcome));
            ended.fetch_add(1, Ordering::Relaxed);
        }
        self.tally
    }

    /// Sends a press until it is decided.
    async fn settle(&mut self, press: Press, deadline: Instant) -> Outcome {
        let mut last = String::new();
        for _ in 0..ATTEMPTS_MAX {
            let (code, pause) = match self.attempt(press).await {
                Word::Final(outcome) => return outcome,
                Word::Again { code, pause } => (code, pause),
            };
            *self.tally.again.entry(code.clone()).or_default() += 1;
            last = code;
            let again_at = Instant::now() + pause;
            if again_at >= deadline {
                break;
            }
            sleep_until(again_at).await;
        }
        Outcome::Undecided(last)
    }

    async fn attempt(&mut self, press: Press) -> Word {
        let sent = Instant::now();
        let answer = timeout(self.crowd.answer_max, self.send(press)).await;
        let took = sent.elapsed();
        let missing = match answer {
            Ok(Ok(reply)) => {
                let word = judge(&reply);
                match &word {
                    Word::Final(Outcome::Made(_)) => {
                        self.tally.order_times.add(took);
                        self.tally.last_order = Some(self.began.elapsed());
                    }
                    Word::Final(Outcome::Replayed(_)) => self.tally.order_times.add(took),
                    _ => self.tally.other_times.add(took),
                }
                return word;
            }
            Ok(Err(_broken)) => "connection_lost",
            Err(_elapsed) => "no_answer",
        };
        self.client = None;
        Word::Again { code: missing.to_owned(), pause: PAUSE }
    }

    async fn send(&mut self, press: Press) -> Result<HttpReply, ClientError> {
        let client = match &mut self.client {
            Some(client) => client,
            empty => empty.insert(HttpClient::connect(self.crowd.address).await?),
        };
        client.send(order_request(self.crowd.sale_id, press)).await
    }
}

/// `POST /api/orders` for one unit.
pub fn order_request(sale_id: SaleId, press: Press) -> Request<Bytes> {
    let body = format!(r#"{{"user_id":"{}","sale_id":"{sale_id}"}}"#, press.buyer);
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/api/orders");
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let key = HeaderValue::from_str(&press.key.to_string()).expect("a UUID is visible ASCII");
    headers.insert("idempotency-key", key);
    request
}

fn judge(reply: &HttpReply) -> Word {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
    let code = |otherwise: &str| match text("code") {
        code if code.is_empty() => format!("{otherwise}_{}", reply.status.as_u16()),
        code => code,
    };
    match reply.status {
        StatusCode::CREATED => match OrderId::parse(&text("id")) {
            Some(id) if reply.headers.contains_key("idempotent-replayed") => {
                Word::Final(Outcome::Replayed(id))
            }
            Some(id) => Word::Final(Outcome::Made(id)),
            None => Word::Final(Outcome::Refused("order_without_id".to_owned())),
        },
        // Busy, in progress, unknown: the same press again. Everything else is decided.
        StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => again(reply, code("status")),
        status if status.is_server_error() => again(reply, code("status")),
        _ => Word::Final(Outcome::Refused(code("status"))),
    }
}

fn again(reply: &HttpReply, code: String) -> Word {
    let asked = reply.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let pause = asked.map_or(PAUSE, Duration::from_secs).min(PAUSE_MAX);
    Word::Again { code, pause }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn reply(status: u16, replayed: bool, body: &'static str) -> HttpReply {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
        if replayed {
            headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        let status = StatusCode::from_u16(status).unwrap();
        HttpReply { status, headers, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn an_answer_decides_or_asks_for_the_same_press_again() {
        const ORDER: &str = r#"{"id":"0190c000-0000-7000-8000-000000000019"}"#;
        let id = OrderId::parse("0190c000-0000-7000-8000-000000000019").unwrap();
        let sold_out = Outcome::Refused("out_of_stock".to_owned());
        let wrong = Outcome::Refused("status_418".to_owned());
        let decided = [
            (reply(201, false, ORDER), Outcome::Made(id)),
            (reply(201, true, ORDER), Outcome::Replayed(id)),
            (reply(201, false, "{}"), Outcome::Refused("order_without_id".to_owned())),
            (reply(400, false, r#"{"code":"out_of_stock"}"#), sold_out),
            (reply(418, false, "tea"), wrong),
        ];
        for (reply, expected) in decided {
            assert!(matches!(judge(&reply), Word::Final(found) if found == expected), "{reply:?}");
        }
        for status in [409, 429, 500, 503] {
            let reply = reply(status, false, r#"{"code":"busy"}"#);
            let Word::Again { code, pause } = judge(&reply) else { panic!("{reply:?}") };
            assert_eq!((code.as_str(), pause), ("busy", PAUSE_MAX));
        }
    }
}
