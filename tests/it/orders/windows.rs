//! When a sale sells: from its start (included) to its end (excluded), by the database's clock.

use chrono::{DateTime, SecondsFormat, TimeDelta};
use serde_json::json;

use super::{moment, until_status};
use crate::support::Service;
use crate::support::api::{Reply, new_key};
use crate::support::crowd::seed_buyers;
use crate::support::locks::{Held, run, until, until_someone_waits};

/// One sale from before its start to behind its end, and one key all along.
#[tokio::test]
async fn a_key_lives_through_the_whole_window_of_a_sale() {
    let service = Service::start().await;
    let (api, key) = (&service.api, new_key());
    let (user, other) = (api.user("9.00").await, api.user("9.00").await);
    let starts_at = moment(&service, TimeDelta::milliseconds(1_000)).await;
    let ends_at = moment(&service, TimeDelta::milliseconds(5_000)).await;
    let window =
        json!({ "unit_price": "4.50", "stock": 1, "starts_at": starts_at, "ends_at": ends_at });
    let sale = api.sale_with(window).await;

    let early = api.buy(&key, &user, &sale).await;
    let early = early.refused(400, "sale_not_open", "no", "same_key");
    assert_eq!((early.text("starts_at"), early.text("ends_at")), (starts_at, ends_at));
    until_status(api, &sale, "live").await;
    let made = api.buy(&key, &user, &sale).await.expect(201);
    let late = api.buy(&new_key(), &other, &sale).await;
    assert_eq!(late.refused(400, "out_of_stock", "no", "same_key").body["stock"], 0);
    let sold_out = api.buy(&key, &user, &sale).await.expect(201);
    assert!(sold_out.replayed() && sold_out.bytes == made.bytes);

    until_status(api, &sale, "ended").await;
    let over = api.buy(&key, &user, &sale).await.expect(201);
    assert!(over.replayed() && over.bytes == made.bytes);
    let over = api.buy(&new_key(), &other, &sale).await;
    over.refused(400, "sale_not_open", "no", "same_key");
    assert_eq!(
        (api.balance(&user).await, api.balance(&other).await),
        ("4.50".into(), "9.00".into())
    );
    service.finish().await;
}

#[tokio::test]
async fn the_windows_edges_are_a_matter_of_moments() {
    let service = Service::start().await;
    let api = &service.api;
    let user = api.user("9.00").await;
    let (past, future) = (TimeDelta::milliseconds(-1), TimeDelta::seconds(60));
    let table = [
        (Some(past), None, 201),
        (Some(past), Some(future), 201),
        (Some(future), None, 400),
        (Some(past - TimeDelta::seconds(1)), Some(past), 400),
    ];
    for (starts, ends, status) in table {
        let mut window = json!({ "unit_price": "1.00", "stock": 1 });
        for (name, offset) in [("starts_at", starts), ("ends_at", ends)] {
            if let Some(offset) = offset {
                window[name] = json!(moment(&service, offset).await);
            }
        }
        let sale = api.sale_with(window.clone()).await;
        let reply = api.buy(&new_key(), &user, &sale).await;
        assert_eq!(reply.status.as_u16(), status, "{window}: {reply:?}");
    }
    assert_eq!(api.balance(&user).await, "7.00");
    service.finish().await;
}

/// Whatever an order waits for: the moment that counts is behind the wait, with every engine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_across_the_end_of_an_attempt_or_of_a_sale_and_buys() {
    for engine in ["grouped", "pessimistic", "optimistic"] {
        let service = Service::start_with(|raw| {
            raw.engine = Some(engine.to_owned());
            raw.lock_timeout = Some("8s".to_owned());
            raw.request_timeout = Some("30s".to_owned());
        })
        .await;
        let user = service.api.user("9.00").await;
        for held in [
            "SELECT FROM sales FOR UPDATE",
            "SELECT FROM wallets FOR UPDATE",
            "LOCK TABLE orders IN SHARE MODE",
            "LOCK TABLE ledger_entries IN SHARE MODE",
        ] {
            println!("{engine}, {held}");
            for of_the_sale in [false, true] {
                let late = ordered_too_late(&service, &user, held, of_the_sale).await;
                match of_the_sale {
                    true => late.refused(400, "sale_not_open", "no", "same_key"),
                    false => late.refused(400, "order_expired", "no", "new_key"),
                };
            }
        }
        assert_eq!(service.api.balance(&user).await, "9.00", "{engine}");
        service.finish().await;
    }
}

/// An order that waits for `held` until the sale is over, or its own `valid_until`.
async fn ordered_too_late(service: &Service, user: &str, held: &str, of_the_sale: bool) -> Reply {
    let soon = moment(service, TimeDelta::milliseconds(500)).await;
    let mut sale = json!({ "unit_price": "1.00", "stock": 9 });
    let mut order = json!({ "user_id": user });
    match of_the_sale {
        true => sale["ends_at"] = json!(soon),
        false => order["valid_until"] = json!(soon),
    }
    order["sale_id"] = json!(service.api.sale_with(sale).await);
    let mut held = Held::by(&service.database, held.to_owned()).await;
    let api = service.api.clone();
    let late = tokio::spawn(async move { api.post("/api/orders", &new_key(), &order).await });
    until_someone_waits(&service.database).await;
    run(&mut held.session, format!("SELECT pg_sleep_until('{soon}')")).await;
    held.release().await;
    late.await.expect("an answer")
}

/// Many orders whose last moments follow one another at every other millisecond, while their group
/// is written: whenever it is decided again it is too late for the next of them. Their neighbours,
/// who named no moment, are none the worse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_expire_one_after_the_other_do_not_fail_their_neighbours() {
    let service = Service::start_with(|raw| {
        raw.engine = Some("grouped".to_owned());
        raw.lock_timeout = Some("8s".to_owned());
        raw.request_timeout = Some("30s".to_owned());
    })
    .await;
    let buyers = seed_buyers(&service.database, 301, "9.00").await;
    let sale = service.api.sale("1.00", 400).await;
    let first = moment(&service, TimeDelta::milliseconds(2_000)).await;
    let last_moment = |milliseconds: usize| {
        let first = DateTime::parse_from_rfc3339(&first).expect("a moment");
        let last = first + TimeDelta::milliseconds(milliseconds as i64);
        json!(last.to_utc().to_rfc3339_opts(SecondsFormat::Micros, true))
    };
    let row = Held::sale(&service.database, &sale).await;
    let send = |user: &str, last: Option<usize>| {
        let (api, mut order) = (service.api.clone(), json!({ "user_id": user, "sale_id": sale }));
        if let Some(last) = last {
            order["valid_until"] = last_moment(last);
        }
        tokio::spawn(async move { api.post("/api/orders", &new_key(), &order).await })
    };
    // One goes ahead, so that all others are one group, and holds them up until the first moment.
    let ahead = send(&buyers[0], None);
    until_someone_waits(&service.database).await;
    let answers: Vec<_> = buyers[1..]
        .iter()
        .enumerate()
        .map(|(at, user)| (at % 3 == 0, send(user, (at % 3 > 0).then_some(at))))
        .collect();
    until("all wait in the lane", async || service.running.waiting() >= 300).await;
    let table = "LOCK TABLE ledger_entries IN SHARE MODE".to_owned();
    let mut table = Held::by(&service.database, table).await;
    row.release().await;
    until_someone_waits(&service.database).await;
    run(&mut table.session, format!("SELECT pg_sleep_until('{first}')")).await;
    table.release().await;
    ahead.await.expect("an answer").expect(201);
    let (mut made, mut expired) = (0, 0);
    for (lasting, answer) in answers {
        let answer = answer.await.expect("an answer");
        match (lasting, answer.status.as_u16()) {
            (_, 201) => made += 1,
            (false, 400) => {
                answer.refused(400, "order_expired", "no", "new_key");
                expired += 1;
            }
            _ => panic!("{answer:?}"),
        }
    }
    println!("{made} made, {expired} expired");
    assert!(made >= 100, "{made}");
    service.finish().await;
}
