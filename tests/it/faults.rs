//! Locks held, deadlocks, serialization failures: every answer in time, nothing half done.

use std::time::Duration;

use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::Service;
use crate::support::api::{Api, Reply, new_key};
use crate::support::crowd::{Wish, crowd, seed_buyers};
use crate::support::locks::{Held, number, run, until_someone_waits};

const LOCK_TIMEOUT: Duration = Duration::from_millis(300);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// A service that waits little, with a user who has 100.00 and a sale of ten at 10.00.
async fn impatient() -> (Service, String, String) {
    let service = Service::start_with(|raw| {
        raw.lock_timeout = Some(format!("{}ms", LOCK_TIMEOUT.as_millis()));
        raw.request_timeout = Some(format!("{}ms", REQUEST_TIMEOUT.as_millis()));
    })
    .await;
    with_scene(service).await
}

async fn with_scene(service: Service) -> (Service, String, String) {
    let user = service.api.user("100.00").await;
    let sale = service.api.sale("10.00", 10).await;
    (service, user, sale)
}

/// An order in a task of its own: the reply, and how long it took.
pub(crate) fn send(
    api: &Api,
    key: &str,
    user: &str,
    sale: &str,
) -> tokio::task::JoinHandle<(Reply, Duration)> {
    let (api, key) = (api.clone(), key.to_owned());
    let (user, sale) = (user.to_owned(), sale.to_owned());
    tokio::spawn(async move {
        let began = Instant::now();
        (api.buy(&key, &user, &sale).await, began.elapsed())
    })
}

fn assert_says_when(reply: &Reply) {
    let seconds = reply.header("retry-after").and_then(|text| text.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 0), "no Retry-After: {reply:?}");
}

/// Orders, keys of orders and ledger entries of orders.
async fn traces(session: &mut PgConnection) -> [i64; 3] {
    [
        number(session, "SELECT count(*) FROM orders").await,
        number(session, "SELECT count(*) FROM idempotency_keys WHERE operation = 'order'").await,
        number(session, "SELECT count(*) FROM ledger_entries WHERE order_id IS NOT NULL").await,
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_a_held_sale_are_answered_in_time_and_others_do_not_notice() {
    let (service, user, sale) = impatient().await;
    let other = service.api.sale("1.00", 5).await;
    let held = Held::sale(&service.database, &sale).await;
    let keys: Vec<String> = (0..6).map(|_| new_key()).collect();
    let orders: Vec<_> = keys.iter().map(|key| send(&service.api, key, &user, &sale)).collect();
    until_someone_waits(&service.database).await;
    assert_eq!(service.api.stock(&sale).await, 10);
    service.api.buy(&new_key(), &user, &other).await.expect(201);
    for order in orders {
        let (reply, took) = order.await.expect("an order");
        let reply = reply.refused(409, "concurrent_conflict", "no", "same_key");
        assert_says_when(&reply);
        assert!(took >= LOCK_TIMEOUT && took < REQUEST_TIMEOUT, "answered after {took:?}");
    }
    held.release().await;
    for key in keys {
        service.api.buy(&key, &user, &sale).await.expect(201);
    }
    assert_eq!(service.api.stock(&sale).await, 4);
    service.finish().await;
}

#[tokio::test]
async fn a_key_that_another_session_holds_is_in_progress_until_it_lets_go() {
    let (service, user, sale) = impatient().await;
    let key = new_key();
    let held = Held::key(&service.database, &user, &key).await;
    let (reply, took) = send(&service.api, &key, &user, &sale).await.expect("an order");
    let reply = reply.refused(409, "request_in_progress", "unknown", "same_key");
    assert_says_when(&reply);
    assert!(took >= LOCK_TIMEOUT && took < REQUEST_TIMEOUT, "answered after {took:?}");
    service.api.buy(&new_key(), &user, &sale).await.expect(201);
    held.release().await;
    let made = service.api.buy(&key, &user, &sale).await.expect(201);
    assert!(!made.replayed(), "nothing was there to replay");
    assert_eq!(traces(&mut service.database.session().await).await, [2, 2, 2]);
    service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_with_a_rogue_session_ends_as_an_order_or_a_clean_conflict() {
    let (service, user, sale) = with_scene(Service::start().await).await;
    let wallet = format!("SELECT 1 FROM wallets WHERE user_id = '{user}' FOR UPDATE");
    let mut rogue = Held::by(&service.database, wallet).await;
    let key = new_key();
    let order = send(&service.api, &key, &user, &sale);
    until_someone_waits(&service.database).await;
    let lock = format!("SELECT 1 FROM sales WHERE id = '{sale}' FOR UPDATE");
    let lock = sqlx::query(AssertSqlSafe(lock)).execute(&mut rogue.session).await;
    rogue.release().await;
    let (reply, _) = order.await.expect("an order");
    if let Err(error) = lock {
        // The rogue was the victim: the order had no trouble.
        assert!(error.to_string().contains("deadlock"), "{error}");
        reply.expect(201);
    } else {
        assert!(matches!(&*reply.code(), "201" | "concurrent_conflict"), "{reply:?}");
        let metrics = service.api.get("/metrics").await.bytes;
        let none = String::from_utf8_lossy(&metrics).contains("sqlstate=\"40P01\"} 0\n");
        assert!(!none, "no deadlock was seen");
    }
    service.api.buy(&key, &user, &sale).await.expect(201);
    assert_eq!(traces(&mut service.database.session().await).await, [1, 1, 1]);
    service.finish().await;
}

/// Makes the first inserts into `table` fail with this SQLSTATE. A sequence counts, because a
/// rollback does not turn it back.
async fn fail_inserts(session: &mut PgConnection, table: &str, sqlstate: &str, first: i64) {
    let trap = format!(
        "CREATE SEQUENCE trapped;
         CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('trapped') <= {first} THEN
                 RAISE EXCEPTION 'trapped' USING ERRCODE = '{sqlstate}';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER trap BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION trap();"
    );
    run(session, trap).await;
}

async fn lift_trap(session: &mut PgConnection, table: &str) {
    run(session, format!("DROP TRIGGER trap ON {table}")).await;
}

#[tokio::test]
async fn a_serialization_failure_is_retried_and_the_caller_does_not_notice() {
    let (service, user, sale) = with_scene(Service::start().await).await;
    let mut session = service.database.session().await;
    fail_inserts(&mut session, "orders", "40001", 4).await;
    service.api.buy(&new_key(), &user, &sale).await.expect(201);
    assert_eq!(number(&mut session, "SELECT last_value FROM trapped").await, 5);
    assert_eq!(traces(&mut session).await, [1, 1, 1]);
    service.finish().await;
}

#[tokio::test]
async fn endless_serialization_failures_end_as_a_conflict_with_nothing_done() {
    let (service, user, sale) = with_scene(Service::start().await).await;
    let mut session = service.database.session().await;
    fail_inserts(&mut session, "orders", "40001", i64::MAX).await;
    let key = new_key();
    let reply = service.api.buy(&key, &user, &sale).await;
    assert_says_when(&reply.refused(409, "concurrent_conflict", "no", "same_key"));
    assert_eq!(number(&mut session, "SELECT last_value FROM trapped").await, 5, "bounded");
    assert_eq!(traces(&mut session).await, [0, 0, 0]);
    lift_trap(&mut session, "orders").await;
    service.api.buy(&key, &user, &sale).await.expect(201);
    service.finish().await;
}

#[tokio::test]
async fn what_the_schema_refuses_is_internal_with_nothing_half_done_and_the_key_free() {
    let (service, user, sale) = with_scene(Service::start().await).await;
    let mut session = service.database.session().await;
    fail_inserts(&mut session, "ledger_entries", "check_violation", i64::MAX).await;
    let key = new_key();
    let reply = service.api.buy(&key, &user, &sale).await;
    let reply = reply.refused(500, "internal", "unknown", "same_key");
    let text = String::from_utf8_lossy(&reply.bytes);
    assert!(!text.contains("trapped") && !text.contains("23514"), "a driver's words: {text}");
    assert_eq!(number(&mut session, "SELECT last_value FROM trapped").await, 1, "no retry");
    assert_eq!(traces(&mut session).await, [0, 0, 0]);
    assert_eq!(service.api.stock(&sale).await, 10);
    assert_eq!(service.api.balance(&user).await, "100.00");
    lift_trap(&mut session, "ledger_entries").await;
    service.api.buy(&key, &user, &sale).await.expect(201);
    service.finish().await;
}

/// A moment of the database's clock, shortly from now.
async fn soon(session: &mut PgConnection) -> String {
    let soon = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC' + interval '1 second',
                               'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    sqlx::query_scalar(soon).fetch_one(session).await.expect("a moment")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_held_past_its_valid_until_buys_nothing_after_its_buyer_bought_again() {
    // Single orders: the second must be able to overtake the first.
    let service = Service::start_with(|raw| {
        raw.engine = Some("pessimistic".to_owned());
        raw.lock_timeout = Some("8s".to_owned());
        raw.request_timeout = Some("30s".to_owned());
    });
    let (service, user, sale) = with_scene(service.await).await;
    let key = new_key();
    let mut held = Held::key(&service.database, &user, &key).await;
    let valid_until = soon(&mut held.session).await;
    let stale = tokio::spawn({
        let (api, key) = (service.api.clone(), key.clone());
        let body = json!({ "user_id": user, "sale_id": sale, "valid_until": valid_until });
        async move { api.post("/api/orders", &key, &body).await }
    });
    until_someone_waits(&service.database).await;
    run(&mut held.session, format!("SELECT pg_sleep_until('{valid_until}')")).await;
    service.api.buy(&new_key(), &user, &sale).await.expect(201);
    held.release().await;
    let stale = stale.await.expect("an answer");
    stale.refused(400, "order_expired", "no", "new_key");
    assert_eq!(traces(&mut service.database.session().await).await, [1, 1, 1]);
    assert_eq!(service.api.balance(&user).await, "90.00");
    service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_turns_away_with_a_time_to_come_back_and_is_normal_afterwards() {
    let service = Service::start_with(|raw| {
        raw.db_connections = Some("3".to_owned());
        raw.max_queue = Some("2".to_owned());
        raw.lock_timeout = Some(format!("{}ms", LOCK_TIMEOUT.as_millis()));
    });
    let (service, _, sale) = with_scene(service.await).await;
    let users = seed_buyers(&service.database, 10, "10.00").await;
    let wishes: Vec<Wish> = users.iter().map(|user| Wish::unit(user, &sale)).collect();
    let held = Held::sale(&service.database, &sale).await;
    let mut orders = JoinSet::new();
    for wish in wishes.clone() {
        let api = service.api.clone();
        orders.spawn(async move { api.post(&wish.path, &wish.key, &wish.body).await });
    }
    let mut turned_away = 0;
    while let Some(reply) = orders.join_next().await {
        let reply = reply.expect("an order");
        assert_says_when(&reply);
        match reply.code().as_str() {
            "overloaded" => {
                let reply = reply.refused(503, "overloaded", "unknown", "same_key");
                let detail = reply.text("detail");
                assert!(detail.contains("the database is slow, or many requests wait"), "{detail}");
                turned_away += 1;
            }
            _ => drop(reply.refused(409, "concurrent_conflict", "no", "same_key")),
        }
    }
    assert!((1..10).contains(&turned_away), "{turned_away} of 10 were turned away");
    held.release().await;
    for reply in crowd(service.api.address(), 2, wishes).await {
        reply.expect(201);
    }
    assert_eq!(service.api.stock(&sale).await, 0);
    service.finish().await;
}
