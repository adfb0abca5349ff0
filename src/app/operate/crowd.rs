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

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::latency::Latencies;
use super::press::{Outcome, PAUSE, Press, Word, judge, order_request};
use crate::adapters::http::{ClientError, HttpClient, HttpReply};
use crate::domain::id::SaleId;

/// How often one press is sent before its buyer gives up.
const ATTEMPTS_MAX: u32 = 20;
/// Between two looks at how many presses are decided.
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
