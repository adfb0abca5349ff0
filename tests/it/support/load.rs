//! Buyers who do what the contract asks of a client while the service dies under them: they keep
//! key and body until the answer is definite.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::api::{Api, Reply};
use super::crowd::{Wish, crowd};

/// Before the next attempt. A person would wait longer.
const PAUSE: Duration = Duration::from_millis(25);

/// One acknowledged order.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    /// Its key.
    pub(crate) key: String,
    /// What was asked for.
    pub(crate) body: Value,
    /// What came back.
    pub(crate) answer: bytes::Bytes,
    /// How often it was sent until then.
    pub(crate) attempts: usize,
}

/// Buyers at work: enough for groups.
const BUYERS: usize = 32;

/// They, and what they have got.
pub(crate) struct Load {
    address: watch::Sender<SocketAddr>,
    done: Arc<Mutex<Vec<Acknowledged>>>,
    stop: Arc<AtomicBool>,
    buyers: JoinSet<()>,
}

impl Load {
    /// Starts buying; each buyer takes its turn through all users.
    pub(crate) fn start(at: SocketAddr, name: &str, sale: &str, users: &[String]) -> Load {
        let (address, at) = watch::channel(at);
        let done = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut buyers = JoinSet::new();
        for number in 0..BUYERS {
            let (at, done, stop) = (at.clone(), Arc::clone(&done), Arc::clone(&stop));
            let (name, sale, users) = (name.to_owned(), sale.to_owned(), users.to_vec());
            buyers.spawn(async move {
                let turns = users.iter().cycle().skip(number * 3).enumerate();
                for (turn, user) in turns {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let key = format!("{name}-{number}-{turn}");
                    let body = json!({ "user_id": user, "sale_id": sale });
                    let order = insist(&at, key, body).await;
                    done.lock().unwrap_or_else(PoisonError::into_inner).push(order);
                }
            });
        }
        Load { address, done, stop, buyers }
    }

    /// The service is somewhere else now.
    pub(crate) fn moved(&self, to: SocketAddr) {
        self.address.send_replace(to);
    }

    /// What was acknowledged until now.
    pub(crate) fn acknowledged(&self) -> Vec<Acknowledged> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many more were acknowledged; a buyer's panic is ours.
    pub(crate) async fn progress(&mut self, more: usize) {
        let wanted = self.acknowledged().len() + more;
        let bought = async {
            while self.acknowledged().len() < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if let Some(ended) = self.buyers.try_join_next() {
                    ended.expect("a buyer who goes on");
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), bought).await.expect("orders go on");
    }

    /// Lets each buyer finish the order it is at; returns everything that was acknowledged.
    pub(crate) async fn finish(mut self) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = async {
            while let Some(buyer) = self.buyers.join_next().await {
                buyer.expect("a buyer who reaches the end");
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ended).await.expect("definite answers");
        self.acknowledged()
    }
}

/// Sends the same order until it is there.
async fn insist(at: &watch::Receiver<SocketAddr>, key: String, body: Value) -> Acknowledged {
    for attempts in 1.. {
        let address = *at.borrow();
        let api = Api::at(address);
        let wish = api.try_write(http::Method::POST, "/api/orders", Some(&key), &body);
        // A process that dies can leave a socket that nobody answers.
        match tokio::time::timeout(Duration::from_secs(15), wish).await {
            Ok(Ok(reply)) if reply.status == 201 => {
                return Acknowledged { key, body, answer: reply.bytes, attempts };
            }
            Ok(Ok(reply)) => assert_try_again(&reply),
            Ok(Err(_broken)) => {}
            Err(_elapsed) => panic!("no answer to {key} within 15 s"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    unreachable!("there is always another attempt")
}

/// The only answers that a buyer with money and stock may get while things break.
pub(crate) fn assert_try_again(reply: &Reply) {
    let code = reply.code();
    let known = matches!(
        (reply.status.as_u16(), code.as_str()),
        (503, "draining" | "database_unavailable" | "outcome_unknown" | "overloaded")
            | (409, "request_in_progress" | "concurrent_conflict")
    );
    assert!(known && reply.body["retry"] == "same_key", "{reply:?}");
}

/// Sends each order once more: the same answer, byte by byte.
pub(crate) async fn assert_replayed(at: SocketAddr, orders: &[Acknowledged]) {
    let wishes = orders.iter().map(|order| Wish::order(&order.key, &order.body)).collect();
    for (order, again) in orders.iter().zip(crowd(at, BUYERS, wishes).await) {
        assert_eq!(again.status, 201, "{order:?} is answered {again:?}");
        assert_eq!(again.bytes, order.answer, "{order:?} is answered {again:?}");
        assert!(again.replayed(), "{again:?}");
    }
}

/// Numbers that look random and come again with the same seed, which is printed.
pub(crate) struct Dice(u64);

impl Dice {
    /// From `TEST_SEED`, else from the clock.
    pub(crate) fn new(what: &str) -> Dice {
        let given = std::env::var("TEST_SEED").ok().and_then(|text| text.parse().ok());
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_nanos() as u64;
        let seed = given.unwrap_or(now);
        eprintln!("{what}: TEST_SEED={seed}");
        Dice(seed | 1)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
