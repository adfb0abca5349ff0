//! The HTTP driver: N connections, each with one order at a time, each order with a new key and a
//! buyer chosen at random. A closed loop: it shows what a service can do, not how it queues.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use flashdeal::adapters::http::HttpClient;
use flashdeal::app::demo;
use flashdeal::domain::id::SaleId;

use crate::Outcome;
use crate::samples::Sample;

/// What is sent where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// The service.
    pub(crate) address: SocketAddr,
    /// The hot sale.
    pub(crate) sale_id: SaleId,
    /// How many buyers there are.
    pub(crate) buyers: u32,
    /// Connections.
    pub(crate) connections: u16,
    /// For how long.
    pub(crate) lasting: Duration,
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// One for each 201.
    pub(crate) samples: Vec<Sample>,
    /// Answers that were no 201, by status.
    pub(crate) others: BTreeMap<u16, u64>,
    /// The length of a 201's body, in bytes.
    pub(crate) body_bytes: usize,
}

/// Opens the connections, drives them, and waits for every last answer: whatever was sent is
/// counted on one side or the other.
pub(crate) async fn drive(load: Load) -> Outcome<Answers> {
    let mut clients = Vec::with_capacity(load.connections.into());
    for _ in 0..load.connections {
        clients.push(HttpClient::connect(load.address).await?);
    }
    let began = Instant::now();
    let mut buyers = JoinSet::new();
    for client in clients {
        buyers.spawn(buy(load, client, began));
    }
    let mut all = Answers::default();
    while let Some(done) = buyers.join_next().await {
        let answers = done??;
        all.samples.extend(answers.samples);
        all.body_bytes = all.body_bytes.max(answers.body_bytes);
        for (status, count) in answers.others {
            *all.others.entry(status).or_default() += count;
        }
    }
    Ok(all)
}

async fn buy(load: Load, mut client: HttpClient, began: Instant) -> Outcome<Answers> {
    let mut answers = Answers::default();
    while began.elapsed() < load.lasting {
        let request = order(load);
        let sent = Instant::now();
        let reply = client.send(request).await?;
        let answered = Instant::now();
        if reply.status == StatusCode::CREATED {
            answers.body_bytes = reply.body.len();
            answers.samples.push(Sample {
                answered_us: micros(answered - began),
                latency_us: u32::try_from(micros(answered - sent)).unwrap_or(u32::MAX),
            });
        } else {
            *answers.others.entry(reply.status.as_u16()).or_default() += 1;
        }
    }
    Ok(answers)
}

fn order(load: Load) -> Request<Bytes> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let buyer = demo::buyer(fastrand::u32(1..=load.buyers).into());
    let body = format!(r#"{{"user_id":"{buyer}","sale_id":"{}"}}"#, load.sale_id);
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

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
