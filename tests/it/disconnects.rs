//! Clients that leave harm nobody.
//!
//! The storm: sockets that send a complete order and close a few milliseconds later, first while
//! the sale's row is held, then while it is free; the wire to PostgreSQL is slow at BEGIN. The same
//! storm against a handler that owns its transaction shows that it is strong enough to do harm.

use std::net::SocketAddr;
use std::time::Duration;

use flashdeal::adapters::postgres::connect::parse_url;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use warp::Filter;

use crate::support::Service;
use crate::support::api::new_key;
use crate::support::crowd::seed_buyers;
use crate::support::locks::{
    Held, IDLE_IN_TRANSACTION, WAITS, number, sessions, until, until_someone_waits,
};
use crate::support::relay::{Break, Relay};

/// Sockets in a storm.
const SOCKETS: usize = 2_000;
/// Sockets open at a time.
const WAVE: usize = 60;
/// How long a socket stays at most after it has sent its order.
const STAY_MAX_MS: u64 = 20;
/// How slow the wire is at BEGIN.
const SLOW: Break = Break::Delay(Duration::from_millis(12));

/// A complete order, as bytes.
fn order(at: SocketAddr, user: &str, sale: &str) -> Vec<u8> {
    let body = json!({ "user_id": user, "sale_id": sale }).to_string();
    let (key, length) = (new_key(), body.len());
    format!(
        "POST /api/orders HTTP/1.1\r\nhost: {at}\r\ncontent-type: application/json\r\n\
         idempotency-key: {key}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Sends orders and leaves before they are answered.
async fn storm(at: SocketAddr, users: &[String], sale: &str, held: Held) {
    let seed = std::env::var("TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut held = Some(held);
    for wave in (0..SOCKETS).collect::<Vec<_>>().chunks(WAVE) {
        if wave[0] >= SOCKETS / 2
            && let Some(held) = held.take()
        {
            held.release().await;
        }
        let mut sockets = JoinSet::new();
        for place in wave {
            let bytes = order(at, &users[place % users.len()], sale);
            let stay = Duration::from_micros(random.u64(..=STAY_MAX_MS * 1000));
            sockets.spawn(async move {
                let mut socket = TcpStream::connect(at).await.expect("a connection");
                socket.write_all(&bytes).await.expect("an order is sent");
                tokio::time::sleep(stay).await;
            });
        }
        while let Some(socket) = sockets.join_next().await {
            socket.expect("a socket");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_callers_who_leave_harms_nobody() {
    let (service, relay) = Service::behind_a_wire(|_| {}).await;
    let users = seed_buyers(&service.database, 50, "1000.00").await;
    let sale = service.api.sale("1.00", 10_000).await;
    relay.break_always("BEGIN", SLOW);
    let before = service.api.counted("client_disconnects_total").await;

    let held = Held::sale(&service.database, &sale).await;
    storm(service.api.address(), &users, &sale, held).await;

    let mut session = service.database.session().await;
    let mut orders_before = -1;
    until("the service is done with the storm", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let orders = number(&mut session, "SELECT count(*) FROM orders").await;
        let at_rest = orders == orders_before;
        orders_before = orders;
        at_rest && sessions(&mut session, "state <> 'idle'").await == 0
    })
    .await;
    // The service's own audit may be between two statements; a leaked session stays.
    until("no session is left in a transaction", async || {
        sessions(&mut session, IDLE_IN_TRANSACTION).await == 0
    })
    .await;
    for user in &users[..20] {
        let reply = service.api.buy(&new_key(), user, &sale).await.expect(201);
        // Another session sees it: it is committed.
        let found = format!("SELECT count(*) FROM orders WHERE id = '{}'", reply.id());
        assert_eq!(number(&mut session, found).await, 1);
    }
    // The service's own audit may be between two statements; a leaked session stays.
    until("no session is left in a transaction", async || {
        sessions(&mut session, IDLE_IN_TRANSACTION).await == 0
    })
    .await;
    let left = service.api.counted("client_disconnects_total").await - before;
    assert!(left >= SOCKETS as u64 / 2, "only {left} callers were seen leaving");
    service.finish().await;
}

/// The first of a lane takes it to the database, the second waits in it. Both callers leave, and
/// both orders are decided all the same, the second by a group that its leader never saw.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_callers_who_left_are_decided_all_the_same() {
    let service = Service::start_with(|raw| raw.engine = Some("grouped".to_owned())).await;
    let users = seed_buyers(&service.database, 2, "10.00").await;
    let sale = service.api.sale("1.00", 9).await;
    let mut session = service.database.session().await;
    let held = Held::sale(&service.database, &sale).await;
    let at = service.api.address();
    let before = service.api.counted("client_disconnects_total").await;
    for (place, user) in users.iter().enumerate() {
        let mut socket = TcpStream::connect(at).await.expect("a connection");
        socket.write_all(&order(at, user, &sale)).await.expect("an order is sent");
        match place {
            0 => until_someone_waits(&service.database).await,
            _ => until("it waits", async || service.running.waiting() == place).await,
        }
    }
    until("both are seen to have left", async || {
        service.api.counted("client_disconnects_total").await >= before + 2
    })
    .await;
    held.release().await;
    until("both are decided", async || {
        number(&mut session, "SELECT count(*) FROM orders").await == 2
    })
    .await;
    service.finish().await;
}

/// Thrown away in the middle, it would go on in the database while its place here was given to the
/// next, and its session would be gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reading_of_a_caller_who_left_goes_on_and_its_session_is_kept() {
    let service = Service::start().await;
    let [user] = &seed_buyers(&service.database, 1, "10.00").await[..] else { unreachable!() };
    let users = "LOCK TABLE users IN ACCESS EXCLUSIVE MODE".to_owned();
    let held = Held::by(&service.database, users).await;
    let (at, before) =
        (service.api.address(), service.api.counted("client_disconnects_total").await);
    let mut socket = TcpStream::connect(at).await.expect("a connection");
    let wish = format!("GET /api/users/{user} HTTP/1.1\r\nhost: {at}\r\n\r\n");
    socket.write_all(wish.as_bytes()).await.expect("it is asked");

    let mut session = service.database.session().await;
    let reading = "query LIKE 'SELECT id, external_id%FROM users WHERE id%'";
    let waits = format!("{reading} AND {WAITS}");
    until("it waits", async || sessions(&mut session, &waits).await == 1).await;
    drop(socket);
    until("its caller is seen to have left", async || {
        service.api.counted("client_disconnects_total").await > before
    })
    .await;
    held.release().await;
    let rests = format!("{reading} AND state = 'idle'");
    until("its session rests", async || sessions(&mut session, &rests).await == 1).await;
    service.finish().await;
}

/// A server whose handler begins a transaction in the future that hyper drops with its caller.
async fn naive_server(pool: PgPool, sale: &str) -> (SocketAddr, JoinHandle<()>) {
    let sale = sale.to_owned();
    let routes = warp::path!("api" / "orders").and(warp::post()).then(move || {
        let (pool, sale) = (pool.clone(), sale.clone());
        async move {
            let sold = async {
                let mut transaction = pool.begin().await?;
                let sell = "UPDATE sales SET sku = sku WHERE id = $1::text::uuid";
                sqlx::query(sell).bind(&sale).execute(&mut *transaction).await?;
                transaction.commit().await
            };
            String::from(if sold.await.is_ok() { "sold" } else { "failed" })
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            let service = TowerToHyperService::new(warp::service(routes.clone()));
            connections.spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    (address, serving)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_storm_breaks_a_handler_that_owns_its_transaction() {
    let service = Service::start().await;
    let users = seed_buyers(&service.database, 50, "1000.00").await;
    let sale = service.api.sale("1.00", 10_000).await;
    let database = service.finish().await;
    let relay = Relay::to(&database).await;
    relay.break_always("BEGIN", SLOW);
    let options = parse_url(&relay.url()).expect("our own URL").application_name("flashdeal");
    let pool = PgPoolOptions::new().max_connections(8).test_before_acquire(false);
    let pool = pool.connect_with(options).await.expect("a pool");
    let (address, serving) = naive_server(pool.clone(), &sale).await;

    let mut session = database.session().await;
    let mut open = 0;
    for _ in 0..5 {
        let held = Held::sale(&database, &sale).await;
        storm(address, &users, &sale, held).await;
        let idle = async || pool.num_idle() == pool.size() as usize;
        until("nobody uses the pool", idle).await;
        open = sessions(&mut session, IDLE_IN_TRANSACTION).await;
        if open > 0 {
            break;
        }
    }
    // Nobody is there any more, nobody uses the pool, and yet a transaction is open.
    assert!(open > 0, "the storm is too weak to show the defect");
    serving.abort();
    pool.close().await;
}
