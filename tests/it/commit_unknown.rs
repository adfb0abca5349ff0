//! A COMMIT that is cut off resolves to one truth.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::Service;
use crate::support::api::{Api, Reply, new_key};
use crate::support::crowd::seed_buyers;
use crate::support::locks::{number, until};
use crate::support::relay::Break;

/// How often each kind of break happens at least.
const ROUNDS: usize = 16;
/// Orders of different users in each round.
const BUYERS: usize = 4;
/// How often a caller asks before its answer must have been a 201.
const ASKED_MAX: usize = 40;
/// How the service begins a transaction of its own (reads that span statements differ).
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Whether the contract lets a caller ask again with the same key.
fn may_ask_again(reply: &Reply) -> bool {
    let again = matches!(
        (reply.status.as_u16(), reply.code().as_str()),
        (409, "concurrent_conflict" | "request_in_progress")
            | (503, "outcome_unknown" | "database_unavailable" | "overloaded")
    );
    again && reply.header("retry-after").is_some() && reply.body["retry"] == "same_key"
}

/// Buys until the answer is a 201. The answer, and whether it was the first.
async fn buy_in_the_end(api: &Api, key: &str, user: &str, sale: &str) -> (Reply, bool) {
    for asked in 1..=ASKED_MAX {
        let reply = api.buy(key, user, sale).await;
        if reply.status == 201 {
            return (reply, asked == 1);
        }
        assert!(may_ask_again(&reply), "{reply:?}");
    }
    panic!("no 201 in {ASKED_MAX} answers");
}

/// Rounds of concurrent orders while statements that begin with `text` are broken.
async fn orders_over_a_breaking_wire(text: &'static str, how: Break) {
    let (service, relay) = Service::behind_a_wire(|_| {}).await;
    let users = seed_buyers(&service.database, BUYERS as i64, "1000.00").await;
    let sale = service.api.sale("1.00", 1_000).await;
    let (mut ids, mut at_once) = (HashSet::new(), 0);
    for round in 0..ROUNDS {
        relay.break_next(text, &[how, how][..1 + round % 2]);
        let mut orders = JoinSet::new();
        for user in users.clone() {
            let (api, sale, key) = (service.api.clone(), sale.clone(), new_key());
            orders.spawn(async move {
                let (first, at_once) = buy_in_the_end(&api, &key, &user, &sale).await;
                let (again, _) = buy_in_the_end(&api, &key, &user, &sale).await;
                assert!(again.replayed(), "the second answer is the first: {again:?}");
                assert_eq!(first.bytes, again.bytes, "one key, one answer");
                (first.id(), at_once)
            });
        }
        while let Some(order) = orders.join_next().await {
            let (id, first) = order.expect("an order");
            assert!(ids.insert(id), "one order was given to two keys");
            at_once += usize::from(first);
        }
    }
    let keys = ROUNDS * BUYERS;
    let mut session = service.database.session().await;
    let orders = number(&mut session, "SELECT count(*) FROM orders").await;
    assert_eq!(usize::try_from(orders), Ok(keys), "as many orders as keys");
    assert!(relay.broken() >= ROUNDS, "the wire broke {} times", relay.broken());
    // The service finds the truth by itself; callers are asked to come back only in a pinch.
    assert!(at_once * 10 >= keys * 9, "{at_once} of {keys} were answered at once");
    assert_eq!(service.api.stock(&sale).await, 1_000 - keys as u64);
    service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_arrived_is_executed_by_a_second_run() {
    orders_over_a_breaking_wire("COMMIT", Break::CutBefore).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_cut_off_while_the_server_works_is_one_order() {
    orders_over_a_breaking_wire("COMMIT", Break::CutDuring).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_is_found_again() {
    orders_over_a_breaking_wire("COMMIT", Break::CutAfter).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_late_is_waited_for() {
    orders_over_a_breaking_wire("COMMIT", Break::Delay(Duration::from_millis(200))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_dies_at_its_first_statement_is_replaced_unnoticed() {
    for how in [Break::CutBefore, Break::CutDuring, Break::CutAfter] {
        let (service, relay) = Service::behind_a_wire(|_| {}).await;
        let user = service.api.user("10.00").await;
        let sale = service.api.sale("10.00", 1).await;
        relay.break_next(BEGIN, &[how, how, how]);
        let made = service.api.buy(&new_key(), &user, &sale).await.expect(201);
        assert!(!made.replayed());
        assert_eq!(relay.broken(), 3, "{how:?}");
        assert_eq!(service.api.balance(&user).await, "0.00");
        service.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_order_is_made_once_too_and_is_no_replay() {
    for how in [Break::CutBefore, Break::CutDuring, Break::CutAfter] {
        let (service, relay) = Service::behind_a_wire(|_| {}).await;
        let api = &service.api;
        let user = api.user("1.00").await;
        let deposits = format!("/api/users/{user}/wallet/deposits");
        let own_id = format!("/api/users/{}", Uuid::now_v7());
        let sale = json!({ "name": "Shoes", "unit_price": "1.00", "stock": 1 });
        let (key, deposit, nobody) = (new_key(), json!({ "amount": "1.00" }), json!({}));
        for (method, path, key, body) in [
            (Method::POST, "/api/users", Some(&*key), &nobody),
            (Method::POST, "/api/users", None, &nobody),
            (Method::PUT, &own_id, None, &nobody),
            (Method::POST, &deposits, Some(&key), &deposit),
            (Method::POST, "/api/sales", Some(&key), &sale),
            (Method::POST, "/api/sales", None, &sale),
        ] {
            let broken = relay.broken();
            relay.break_next("COMMIT", &[how]);
            let made = api.try_write(method.clone(), path, key, body).await.expect("an answer");
            assert!(made.status == 201 && !made.replayed(), "{how:?} {method} {path}: {made:?}");
            assert_eq!(relay.broken(), broken + 1, "{how:?} {method} {path}");
            if let Some(key) = key {
                let again = api.post(path, key, body).await.expect(201);
                assert!(again.replayed() && again.bytes == made.bytes, "{how:?} {path}: {again:?}");
            }
        }
        let mut session = service.database.session().await;
        for (table, rows) in [("users", 4), ("sales", 2), ("ledger_entries", 2)] {
            let found = number(&mut session, &format!("SELECT count(*) FROM {table}")).await;
            assert_eq!(found, rows, "{how:?}: {table}");
        }
        service.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sent_no_key_and_hears_no_end_is_told_to_look() {
    let (service, relay) = Service::behind_a_wire(|raw| {
        raw.lock_timeout = Some("200ms".to_owned());
        raw.request_timeout = Some("1s".to_owned());
    })
    .await;
    let own_id = format!("/api/users/{}", Uuid::now_v7());
    let sale = json!({ "name": "Shoes", "unit_price": "1.00", "stock": 1 });
    for (method, path, body, advice) in [
        (Method::POST, "/api/users", json!({}), "look for the first"),
        (Method::PUT, &own_id, json!({}), "a user is made once"),
        (Method::POST, "/api/sales", sale, "look for the first"),
    ] {
        relay.break_next("COMMIT", &[Break::Delay(Duration::from_secs(2))]);
        let reply = service.api.try_write(method, path, None, &body).await.expect("an answer");
        assert_eq!((reply.status.as_u16(), &*reply.code()), (503, "outcome_unknown"), "{reply:?}");
        let detail = reply.text("detail");
        assert!(detail.contains(advice) && !detail.contains("same key"), "{detail}");
    }
    service.finish().await;
}

/// The pool asks each session that comes back whether it lives, and knows no limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_go_silent_on_their_way_back_do_not_keep_their_places() {
    const SESSIONS: usize = 4;
    let (service, relay) = Service::behind_a_wire(|raw| {
        raw.db_connections = Some(SESSIONS.to_string());
    })
    .await;
    let user = service.api.user("10.00").await;
    let sale = service.api.sale("1.00", 10).await;
    relay.break_next("COMMIT", &[Break::SilentAfter; SESSIONS]);
    for bought in 1..=SESSIONS {
        service.api.buy(&new_key(), &user, &sale).await.expect(201);
        assert_eq!(relay.broken(), bought, "each order's session is lost behind its COMMIT");
    }
    // All are on their way back to the pool and hear nothing.
    let key = new_key();
    until("it sells again", async || service.api.buy(&key, &user, &sale).await.status == 201).await;
    assert_eq!(service.api.balance(&user).await, "5.00");
    service.finish().await;
}

/// The server's own limit and a second more, not the time of the whole request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_not_answered_is_given_up_in_time_for_another_try() {
    for how in [Break::SilentUp, Break::SilentDown] {
        for statement in ["WITH ours AS", "-- Writes what a decided group"] {
            let (service, relay) = Service::behind_a_wire(|raw| {
                // Its first statement is nobody else's, so no session has it prepared.
                raw.engine = Some("grouped".to_owned());
                raw.lock_timeout = Some("300ms".to_owned());
                raw.request_timeout = Some("20s".to_owned());
            })
            .await;
            let user = service.api.user("10.00").await;
            let sale = service.api.sale("1.00", 10).await;
            relay.break_next(statement, &[how]);
            let began = Instant::now();
            let made = service.api.buy(&new_key(), &user, &sale).await.expect(201);
            let took = began.elapsed();
            assert_eq!((relay.broken(), made.replayed()), (1, false), "{how:?} {statement}");
            assert!(took < Duration::from_secs(10), "{how:?} {statement}: {took:?}");
            service.finish().await;
        }
    }
}

/// A firewall that forgets what is open: each session that rests would cost whoever takes it three
/// seconds, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_went_silent_while_they_rested_are_found_out_in_seconds() {
    let (service, relay) = Service::behind_a_wire(|_| {}).await;
    let users = seed_buyers(&service.database, 24, "10.00").await;
    let mut orders = JoinSet::new();
    for user in users.clone() {
        let (api, sale) = (service.api.clone(), service.api.sale("1.00", 2).await);
        orders.spawn(async move { api.buy(&new_key(), &user, &sale).await.expect(201) });
    }
    orders.join_all().await;
    let sale = service.api.sale("1.00", 10).await;
    // Only a session that has rested for a second is asked whether it lives.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    relay.silence_open_wires();
    let (began, key) = (Instant::now(), new_key());
    let sold = async || service.api.buy(&key, &users[0], &sale).await.status == 201;
    until("it sells again", sold).await;
    let took = began.elapsed();
    println!("sold again after {took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    service.finish().await;
}

/// A log that could not be flushed: the server says so, ends, and may find the commit when it is
/// back. (Here it has not committed, which nobody can know either.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_ends_in_an_error_of_the_system_is_not_taken_for_refused() {
    let (service, relay) = Service::behind_a_wire(|raw| {
        raw.lock_timeout = Some("300ms".to_owned());
        raw.request_timeout = Some("1500ms".to_owned());
    })
    .await;
    let user = service.api.user("10.00").await;
    let sale = service.api.sale("1.00", 10).await;
    let key = new_key();
    for raise in [
        "DO 'BEGIN RAISE EXCEPTION USING ERRCODE = ''58030''; END'",
        "DO 'BEGIN RAISE EXCEPTION USING ERRCODE = ''XX000''; END'",
    ] {
        relay.say_instead("COMMIT", raise);
        let reply = service.api.buy(&key, &user, &sale).await;
        reply.refused(503, "outcome_unknown", "unknown", "same_key");
    }
    relay.say_instead("COMMIT", "COMMIT");
    assert!(!service.api.buy(&key, &user, &sale).await.expect(201).replayed());
    assert_eq!(service.api.balance(&user).await, "9.00");
    service.finish().await;
}

/// One session that fell silent turns nobody away: another one is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_that_is_not_answered_is_sent_over_another_session() {
    let (service, relay) = Service::behind_a_wire(|_| {}).await;
    let user = service.api.user("10.00").await;
    let sale = service.api.sale("1.00", 10).await;
    relay.break_next("BEGIN", &[Break::SilentUp]);
    assert!(!service.api.buy(&new_key(), &user, &sale).await.expect(201).replayed());
    assert_eq!(relay.broken(), 1);
    service.finish().await;
}

/// A session that died in the pool a moment ago is no answer to who only wants to read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_whose_session_dies_is_done_over_another() {
    let (service, relay) = Service::behind_a_wire(|_| {}).await;
    let user = service.api.user("10.00").await;
    relay.break_next("SELECT balance, entry_count, updated_at", &[Break::CutBefore]);
    assert_eq!((service.api.balance(&user).await.as_str(), relay.broken()), ("10.00", 1));
    service.finish().await;
}
