//! SIGTERM in the middle of work: nothing that was acknowledged is lost, nobody holds the process
//! up for longer than the grace, nothing stays behind.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use sqlx::PgConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::api::Api;
use crate::support::crowd::seed_buyers;
use crate::support::data_dir::{DataDir, until};
use crate::support::load::assert_try_again;
use crate::support::locks::{Held as HeldRow, until_someone_waits};
use crate::support::postgres::TestDatabase;
use crate::support::process::ServeProcess;

/// What the stop may take beyond the grace: closing the pool, stopping PostgreSQL, a busy machine.
const SLACK: Duration = Duration::from_secs(5);

const SALE: &str = "0190b000-0000-7000-8000-000000000001";

/// The id of a demo buyer.
fn buyer(number: usize) -> String {
    format!("0190a000-0000-7000-8000-{number:012}")
}

/// Buys with every demo buyer once, one connection for each order, until the door is closed.
/// Returns the keys that were answered 201.
async fn buy_until_closed(at: SocketAddr, number: usize, bought: Arc<Mutex<Vec<String>>>) {
    for turn in 0..60 {
        let key = format!("shutdown-{number}-{turn}");
        let body = json!({ "user_id": buyer(turn * 8 + number + 1), "sale_id": SALE });
        let post = http::Method::POST;
        match Api::at(at).try_write(post, "/api/orders", Some(&key), &body).await {
            Ok(reply) if reply.status == 201 => {
                bought.lock().unwrap_or_else(PoisonError::into_inner).push(key);
            }
            Ok(reply) => return assert_try_again(&reply),
            Err(_closed) => return,
        }
    }
}

async fn raw(at: SocketAddr, bytes: &str) -> TcpStream {
    let mut socket = TcpStream::connect(at).await.expect("a connection");
    socket.write_all(bytes.as_bytes()).await.expect("room for a few bytes");
    socket
}

/// A connection that was used once and is kept.
async fn idle(at: SocketAddr) -> TcpStream {
    let mut socket = raw(at, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut answer = [0; 16];
    socket.read_exact(&mut answer).await.expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    socket
}

/// A client that asks for more than the kernel buffers and never reads.
async fn deaf(at: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(at).await.expect("a connection");
    let requests = "GET /openapi.yaml HTTP/1.1\r\nhost: x\r\n\r\n".repeat(500);
    let full = async { while socket.write_all(requests.as_bytes()).await.is_ok() {} };
    // The server stops reading because we do not read.
    let _stuck = tokio::time::timeout(Duration::from_millis(500), full).await;
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_nothing_and_leaves_nothing() {
    let data_dir = DataDir::fresh("shutdown-load");
    let grace = Duration::from_secs(4);
    let environment = data_dir.environment(&[("FLASHDEAL_SHUTDOWN_GRACE", "4s")]);
    let process = ServeProcess::start(&environment).await;
    let at = process.api.address();
    let head = "POST /api/orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let body = format!("{head}idempotency-key: half\r\ncontent-length: 200\r\n\r\n{{\"user_id\"");
    let _stuck = [idle(at).await, raw(at, head).await, raw(at, &body).await, deaf(at).await];

    let bought = Arc::new(Mutex::new(Vec::new()));
    let mut buyers = JoinSet::new();
    for number in 0..8 {
        buyers.spawn(buy_until_closed(at, number, Arc::clone(&bought)));
    }
    let count = || bought.lock().unwrap_or_else(PoisonError::into_inner).len();
    until("some have bought", async || count() >= 20).await;
    process.signal(Signal::SIGTERM);
    let began = Instant::now();
    assert_eq!(process.exit().await, Some(0));
    let took = began.elapsed();
    assert!(took < grace + SLACK, "{took:?}");
    assert_eq!(data_dir.servers(), Vec::<i32>::new(), "PostgreSQL is gone");
    assert_eq!(data_dir.postmaster(), None, "an orderly end");
    while let Some(buyer) = buyers.join_next().await {
        buyer.expect("only documented answers");
    }
    assert!(count() < 480, "the stop came in the middle");
    let bought = bought.lock().unwrap_or_else(PoisonError::into_inner).clone();
    println!("{} bought, stopped after {took:?}", bought.len());
    assert_all_there(&data_dir, &bought).await;
}

/// Every acknowledged order is there; the half-sent one is not.
async fn assert_all_there(data_dir: &DataDir, bought: &[String]) {
    let process = ServeProcess::start(&data_dir.environment(&[])).await;
    let keys: Vec<String> = sqlx::query_scalar(
        "SELECT k.key FROM idempotency_keys k JOIN orders o ON o.id = k.resource_id",
    )
    .fetch_all(&mut data_dir.session().await)
    .await
    .expect("keys");
    let keys: HashSet<&String> = keys.iter().collect();
    let lost: Vec<&String> = bought.iter().filter(|key| !keys.contains(key)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(!keys.contains(&"half".to_owned()), "half a request is none");
    let audit = process.api.get("/api/audit").await.expect(200);
    assert_eq!(audit.body["balanced"], true, "{audit:?}");
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit().await, Some(0));
}

/// A service with one order that waits for a sale's row, and the session that holds it.
struct Held {
    database: TestDatabase,
    holder: PgConnection,
    sale: String,
    user: String,
    waiting: tokio::task::JoinHandle<Option<crate::support::api::Reply>>,
}

async fn held(grace: &str) -> (ServeProcess, Held) {
    let database = TestDatabase::create().await;
    let environment = environment(&database, grace);
    let process = ServeProcess::start(&environment).await;
    let user = process.api.user("10.00").await;
    let sale = process.api.sale("1.00", 5).await;
    let mut holder = database.session().await;
    sqlx::raw_sql("BEGIN; SELECT * FROM sales FOR UPDATE")
        .execute(&mut holder)
        .await
        .expect("the row");
    let (api, body) = (process.api.clone(), json!({"user_id": user, "sale_id": sale}));
    let waiting = tokio::spawn(async move {
        let post = http::Method::POST;
        api.try_write(post, "/api/orders", Some("held"), &body).await.ok()
    });
    until_someone_waits(&database).await;
    (process, Held { database, holder, sale, user, waiting })
}

fn environment<'a>(database: &'a TestDatabase, grace: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("DATABASE_URL", &database.url),
        ("FLASHDEAL_LOG", "off"),
        // The row is held for longer than the grace: waits must not end by themselves.
        ("FLASHDEAL_LOCK_TIMEOUT", "20s"),
        ("FLASHDEAL_REQUEST_TIMEOUT", "60s"),
        ("FLASHDEAL_SHUTDOWN_GRACE", grace),
    ]
}

async fn refuses_connections(at: SocketAddr) -> bool {
    TcpStream::connect(at).await.is_err()
}

/// The row is free again: the key that had no answer makes one order in the end.
async fn assert_one_order_in_the_end(held: Held) {
    let Held { database, mut holder, sale, user, waiting } = held;
    if let Some(reply) = waiting.await.expect("a client") {
        assert_try_again(&reply);
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.expect("the row is free");
    let process = ServeProcess::start(&environment(&database, "5s")).await;
    process.api.buy("held", &user, &sale).await.expect(201);
    assert!(process.api.buy("held", &user, &sale).await.expect(201).replayed());
    assert_eq!(process.api.stock(&sale).await, 4);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit().await, Some(0));
    crate::support::service::assert_balanced(&database).await;
}

/// Whether a new connection is told that the service drains.
async fn is_draining(at: SocketAddr) -> bool {
    let asked = Api::at(at).try_write(http::Method::GET, "/readyz", None, &json!({})).await;
    asked.is_ok_and(|reply| reply.status == 503 && reply.body["status"] == "draining")
}

#[tokio::test]
async fn who_comes_while_an_order_is_finished_is_told_that_the_service_drains() {
    let (process, mut held) = held("20s").await;
    let at = process.api.address();
    process.signal(Signal::SIGTERM);
    until("it drains", async || is_draining(at).await).await;
    let late = process.api.buy("late", &held.user, &held.sale).await;
    assert_eq!(late.header("connection"), Some("close"));
    late.refused(503, "draining", "unknown", "same_key");
    sqlx::raw_sql("ROLLBACK").execute(&mut held.holder).await.expect("the row is free");
    assert_eq!(process.exit().await, Some(0));
    let made = (&mut held.waiting).await.expect("a client").expect("an answer").expect(201);
    assert!(!made.replayed() && refuses_connections(at).await);
    let process = ServeProcess::start(&environment(&held.database, "5s")).await;
    assert!(process.api.buy("held", &held.user, &held.sale).await.expect(201).replayed());
    process.api.buy("late", &held.user, &held.sale).await.expect(201);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit().await, Some(0));
    crate::support::service::assert_balanced(&held.database).await;
}

/// A hundred wait in the lane behind the one that waits for the row. Whoever was let in is decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_with_a_full_lane_decides_everyone_in_it() {
    let database = TestDatabase::create().await;
    let grouped = [&*environment(&database, "20s"), &[("FLASHDEAL_ENGINE", "grouped")]].concat();
    let process = ServeProcess::start(&grouped).await;
    let users = seed_buyers(&database, 101, "10.00").await;
    let sale = process.api.sale("1.00", 200).await;
    let held = HeldRow::sale(&database, &sale).await;
    let mut orders = JoinSet::new();
    for (place, user) in users.into_iter().enumerate() {
        let (api, sale) = (process.api.clone(), sale.clone());
        orders.spawn(async move { api.buy(&format!("k{place}"), &user, &sale).await });
        if place == 0 {
            until_someone_waits(&database).await;
        }
    }
    until("the lane is full", async || {
        let page = process.api.get("/metrics").await.bytes;
        String::from_utf8_lossy(&page).contains("\norder_queue_depth 100\n")
    })
    .await;
    let at = process.api.address();
    process.signal(Signal::SIGTERM);
    until("it drains", async || is_draining(at).await).await;
    held.release().await;
    for reply in orders.join_all().await {
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    assert_eq!(process.exit().await, Some(0));
    crate::support::service::assert_balanced(&database).await;
}

#[tokio::test]
async fn a_row_that_somebody_holds_delays_a_stop_by_the_grace_at_most() {
    let (process, held) = held("2s").await;
    let (began, at) = (Instant::now(), process.api.address());
    process.signal(Signal::SIGTERM);
    until("the door is closed", async || refuses_connections(at).await).await;
    assert_eq!(process.exit().await, Some(0));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2), "the order had its grace: {took:?}");
    assert!(took < Duration::from_secs(2) + SLACK, "{took:?}");
    assert_one_order_in_the_end(held).await;
}

#[tokio::test]
async fn a_second_signal_leaves_at_once() {
    let (process, held) = held("10s").await;
    let at = process.api.address();
    process.signal(Signal::SIGTERM);
    until("the first signal is heard", async || is_draining(at).await).await;
    let began = Instant::now();
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit().await, Some(1), "an early end is no success");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_one_order_in_the_end(held).await;
}
