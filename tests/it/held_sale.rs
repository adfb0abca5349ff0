//! Somebody holds the row of a sale for ten seconds, as a forgotten session of an operator would.
//! With the settings as they are shipped every caller has an answer in time, nobody's money moves,
//! and within two seconds of the row's release the shop sells again.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::support::Service;
use crate::support::api::{Api, new_key};
use crate::support::crowd::seed_buyers;
use crate::support::locks::{Held, until_someone_waits};

/// How long the row is held.
const HELD: Duration = Duration::from_secs(10);
/// The longest wait of a caller (`FLASHDEAL_REQUEST_TIMEOUT`), with room for a busy machine.
const IN_TIME: Duration = Duration::from_secs(10 + 2);
/// Until the first order behind it.
const RECOVERED: Duration = Duration::from_secs(2);
/// Callers, each with one key that it sends until its answer is definite.
const CALLERS: usize = 24;

/// Presses until the order is made; returns how often it was told to come again.
async fn press(api: Api, user: String, sale: String) -> u32 {
    let key = new_key();
    for told_to_come_again in 0.. {
        let began = Instant::now();
        let reply = timeout(IN_TIME, api.buy(&key, &user, &sale)).await;
        let reply = reply.unwrap_or_else(|_| panic!("no answer within {IN_TIME:?}"));
        if reply.status == 201 {
            return told_to_come_again;
        }
        let said = (reply.status.as_u16(), reply.code());
        let again = [(409, "concurrent_conflict".to_owned()), (503, "overloaded".to_owned())];
        assert!(again.contains(&said), "{:?}: {reply:?}", began.elapsed());
        assert!(reply.header("retry-after").is_some(), "it does not say when: {reply:?}");
    }
    unreachable!("it presses without end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_that_is_held_for_ten_seconds_answers_everyone_and_sells_again_within_two() {
    let service = Service::start().await;
    let buyers = seed_buyers(&service.database, CALLERS as i64, "10.00").await;
    let [late] = &seed_buyers(&service.database, 1, "10.00").await[..] else { unreachable!() };
    let sale = service.api.sale("10.00", 100).await;
    let held = Held::sale(&service.database, &sale).await;
    let until = Instant::now() + HELD;
    let mut callers = JoinSet::new();
    for buyer in buyers {
        callers.spawn(press(service.api.clone(), buyer, sale.clone()));
    }
    until_someone_waits(&service.database).await;
    tokio::time::sleep_until(until).await;
    assert_eq!(service.api.stock(&sale).await, 100, "nobody was sold anything");
    held.release().await;

    let free = Instant::now();
    let first = timeout(RECOVERED, press(service.api.clone(), late.clone(), sale.clone())).await;
    assert!(first.is_ok(), "no order within {:?} of the row's release", free.elapsed());
    let mut told_to_come_again = 0;
    while let Some(caller) = callers.join_next().await {
        told_to_come_again += caller.expect("a caller");
    }
    assert!(told_to_come_again > 0, "nobody noticed that the row was held");
    let left = service.api.stock(&sale).await;
    assert_eq!(left, 100 - CALLERS as u64 - 1, "each of them once");
    service.finish().await;
}

/// Who waits behind an order that waits for the row is not executed when his turn comes too late:
/// there would be no time left for his own waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_waited_too_long_in_line_is_turned_away_unexecuted() {
    let service = Service::start_with(|raw| {
        raw.engine = Some("grouped".to_owned());
        raw.lock_timeout = Some("800ms".to_owned());
        raw.request_timeout = Some("1700ms".to_owned());
    })
    .await;
    let buyers = seed_buyers(&service.database, 2, "10.00").await;
    let sale = service.api.sale("10.00", 100).await;
    let held = Held::sale(&service.database, &sale).await;
    let (api, of_first, buyer) = (service.api.clone(), sale.clone(), buyers[0].clone());
    let first = tokio::spawn(async move { api.buy(&new_key(), &buyer, &of_first).await });
    until_someone_waits(&service.database).await;
    let key = new_key();
    let late = service.api.buy(&key, &buyers[1], &sale).await;
    late.refused(503, "overloaded", "unknown", "same_key");
    first.await.expect("a caller").refused(409, "concurrent_conflict", "no", "same_key");
    held.release().await;
    assert_eq!(service.api.stock(&sale).await, 100, "nobody was sold anything");
    assert!(!service.api.buy(&key, &buyers[1], &sale).await.expect(201).replayed());
    service.finish().await;
}
