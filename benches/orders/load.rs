//! What is asked of a service, and the closed loop: N connections, each with one request at a time.
//! It shows what a service can do, not how it queues; that is [`crate::arrivals`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use flashdeal::adapters::http::{HttpClient, HttpReply};
use flashdeal::app::demo;
use flashdeal::domain::id::SaleId;

use crate::Outcome;
use crate::samples::Sample;

/// Connections opened side by side: fewer than a listener keeps waiting.
const OPENED_TOGETHER: usize = 128;
/// How long after its end a cell may wait for its last answers: longer than the service itself.
const LAST_ANSWERS_MAX: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    /// Orders: a new key each, buyer and sale by chance.
    Orders {
        /// The sales.
        sales: Arc<[SaleId]>,
        /// The buyers' numbers.
        buyers: RangeInclusive<u32>,
    },
    /// The same page again and again.
    Page(Uri),
}

/// Which answer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// A 201 that is no replay.
    Confirmed,
    /// A 400 `out_of_stock`.
    SoldOut,
    /// A 200.
    Shown,
}

/// What is sent where.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// The service.
    pub(crate) address: SocketAddr,
    /// What is asked of it.
    pub(crate) asked: Asked,
    /// What it should say.
    pub(crate) counted: Counted,
    /// Connections.
    pub(crate) connections: u16,
    /// For how long.
    pub(crate) lasting: Duration,
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// One for each answer that counts.
    pub(crate) samples: Vec<Sample>,
    /// All others, by status.
    pub(crate) others: BTreeMap<u16, u64>,
}

impl Answers {
    /// Files one answer.
    pub(crate) fn add(
        &mut self,
        load: &Load,
        reply: &HttpReply,
        began: Instant,
        from: Instant,
        answered: Instant,
    ) {
        if load.counts(reply) {
            self.samples.push(Sample {
                answered_us: micros(answered - began),
                latency_us: u32::try_from(micros(answered - from)).unwrap_or(u32::MAX),
            });
        } else {
            *self.others.entry(reply.status.as_u16()).or_default() += 1;
        }
    }

    fn append(&mut self, more: Answers) {
        self.samples.extend(more.samples);
        for (status, count) in more.others {
            *self.others.entry(status).or_default() += count;
        }
    }
}

impl Load {
    /// Opens all connections.
    pub(crate) async fn connect(&self) -> Outcome<Vec<HttpClient>> {
        let mut clients = Vec::with_capacity(self.connections.into());
        while clients.len() < usize::from(self.connections) {
            let some = OPENED_TOGETHER.min(usize::from(self.connections) - clients.len());
            let opening = (0..some).map(|_| HttpClient::connect(self.address));
            clients.extend(try_join_all(opening).await?);
        }
        Ok(clients)
    }

    /// The next request.
    pub(crate) fn request(&self) -> Request<Bytes> {
        match &self.asked {
            Asked::Orders { sales, buyers } => {
                let sale = sales[fastrand::usize(..sales.len())];
                order(sale, fastrand::u32(buyers.clone()))
            }
            Asked::Page(uri) => {
                let mut request = Request::new(Bytes::new());
                *request.uri_mut() = uri.clone();
                request
            }
        }
    }

    /// What `asking` brings, unless the last answers are too long in coming.
    pub(crate) async fn answered(
        &self,
        asking: impl Future<Output = Outcome<Answers>>,
    ) -> Outcome<Answers> {
        let answers = timeout(self.lasting + LAST_ANSWERS_MAX, asking).await;
        answers.map_err(|_elapsed| "requests were not answered in time")?
    }

    fn counts(&self, reply: &HttpReply) -> bool {
        match self.counted {
            Counted::Confirmed => {
                let replayed = reply.headers.contains_key("idempotent-replayed");
                reply.status == StatusCode::CREATED && !replayed
            }
            Counted::SoldOut => {
                let code = b"\"out_of_stock\"";
                let said = reply.body.windows(code.len()).any(|window| window == code);
                reply.status == StatusCode::BAD_REQUEST && said
            }
            Counted::Shown => reply.status == StatusCode::OK,
        }
    }
}

/// One order of one buyer with a new key.
pub(crate) fn order(sale: SaleId, buyer: u32) -> Request<Bytes> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let body = format!(r#"{{"user_id":"{}","sale_id":"{sale}"}}"#, demo::buyer(buyer.into()));
    let key = Uuid::from_u128(fastrand::u128(..)).to_string();
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/api/orders");
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    if let Ok(key) = HeaderValue::from_str(&key) {
        headers.insert("idempotency-key", key);
    }
    request
}

/// Closed loop. Waits for every last answer: whatever was sent is counted on one side or the other.
pub(crate) async fn drive(load: &Load) -> Outcome<Answers> {
    let load = Arc::new(load.clone());
    let clients = load.connect().await?;
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(ask_on(Arc::clone(&load), client, began));
    }
    load.answered(gather(tasks)).await
}

async fn ask_on(load: Arc<Load>, mut client: HttpClient, began: Instant) -> Outcome<Answers> {
    let mut answers = Answers::default();
    while began.elapsed() < load.lasting {
        let request = load.request();
        let sent = Instant::now();
        let reply = client.send(request).await?;
        answers.add(&load, &reply, began, sent, Instant::now());
    }
    Ok(answers)
}

async fn gather(mut tasks: JoinSet<Outcome<Answers>>) -> Outcome<Answers> {
    let mut all = Answers::default();
    while let Some(done) = tasks.join_next().await {
        all.append(done??);
    }
    Ok(all)
}

/// Whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
