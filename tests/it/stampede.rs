//! Many at once: what is sold, what is paid and what is left must be exact under contention.
//!
//! The load itself is proved by a negative control: the same crowd makes a naive shop oversell.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

mod naive;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::Service;
use crate::support::api::{Reply, new_key};
use crate::support::crowd::{Wish, crowd, race, seed_buyers};
use crate::support::postgres::TestDatabase;

/// Keep-alive connections of a stampede.
const CONNECTIONS: usize = 64;
/// Buyers for each unit.
const BUYERS_PER_UNIT: u32 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_unit_is_sold_once_to_two_hundred_buyers() {
    stampede(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_units_are_sold_ten_times_to_two_thousand_buyers() {
    stampede(10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_units_are_sold_five_hundred_times_to_a_hundred_thousand_buyers() {
    stampede(500).await;
}

async fn stampede(units: u32) {
    let service = Service::start().await;
    let buyers = seed_buyers(&service.database, i64::from(units * BUYERS_PER_UNIT), "10.00").await;
    let sale = service.api.sale("10.00", units).await;
    let wishes = buyers.iter().map(|buyer| Wish::unit(buyer, &sale));
    let replies = crowd(service.api.address(), CONNECTIONS, wishes.collect()).await;

    let made = made(&replies, "out_of_stock");
    assert_eq!(made.len(), units as usize, "exactly what was there is sold");
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        assert_eq!(reply.body["stock"], 0, "nobody is refused while a unit is left");
    }
    assert_sold_out(&service, &sale, &made).await;
    let spent = "SELECT count(*) FILTER (WHERE balance = 0), count(*) FILTER (WHERE balance = 10)
                 FROM wallets";
    let mut session = service.database.session().await;
    let spent: (i64, i64) = sqlx::query_as(spent).fetch_one(&mut session).await.unwrap();
    let units = i64::from(units);
    assert_eq!(spent, (units, units * i64::from(BUYERS_PER_UNIT - 1)));
    service.finish().await;
}

/// The orders that were made; every other answer must be a 400 with this code.
fn made<'a>(replies: &'a [Reply], otherwise: &str) -> Vec<&'a Reply> {
    let (made, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 201);
    for reply in refused {
        let found = (reply.status.as_u16(), reply.code());
        assert_eq!(found, (400, otherwise.to_owned()), "{reply:?}");
    }
    made
}

/// The sale says so, its orders are numbered from 1 without gaps, and they are the ones answered.
async fn assert_sold_out(service: &Service, sale: &str, made: &[&Reply]) {
    let mut session = service.database.session().await;
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT sequence, id::text FROM orders WHERE sale_id = $1::uuid ORDER BY sequence",
    )
    .bind(sale)
    .fetch_all(&mut session)
    .await
    .unwrap();
    let (sequences, stored): (Vec<i64>, BTreeSet<String>) = rows.iter().cloned().unzip();
    assert!(sequences.into_iter().eq(1..=rows.len() as i64), "{rows:?}");
    let answered: BTreeSet<String> = made.iter().map(|reply| reply.id()).collect();
    assert_eq!(stored, answered, "an answer for each order, and no other");

    let (_, last) = rows.last().unwrap();
    let last = made.iter().find(|reply| reply.id() == *last).unwrap();
    let read = service.api.get(&format!("/api/sales/{sale}")).await;
    let read = read.expect(200);
    assert_eq!((&read.body["stock"], read.text("status")), (&json!(0), "sold_out".to_owned()));
    assert_eq!(read.text("sold_out_at"), last.text("created_at"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sales_at_once_do_not_touch_one_another() {
    let service = Service::start().await;
    let buyers = seed_buyers(&service.database, 60, "100.00").await;
    let mut sales = Vec::new();
    for stock in 1..=8 {
        sales.push((service.api.sale("1.00", stock).await, stock as usize));
    }
    let wishes =
        buyers.iter().flat_map(|buyer| sales.iter().map(|(sale, _)| Wish::unit(buyer, sale)));
    let replies = crowd(service.api.address(), CONNECTIONS, wishes.collect()).await;
    let made = made(&replies, "out_of_stock");
    assert_eq!(made.len(), (1..=8).sum::<usize>());
    for (sale, stock) in &sales {
        let own = made.iter().filter(|reply| reply.text("sale_id") == *sale);
        let own: Vec<&Reply> = own.copied().collect();
        assert_eq!(own.len(), *stock);
        assert_sold_out(&service, sale, &own).await;
    }
    service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_for_three_buys_three_of_twenty_orders_in_parallel() {
    let service = Service::start().await;
    let user = service.api.user("30.00").await;
    // Two sales: neither sale's lock alone can keep the wallet.
    let sales = [service.api.sale("10.00", 100).await, service.api.sale("10.00", 100).await];
    let wishes = (0..20).map(|n| Wish::unit(&user, &sales[n % 2]));
    let replies = crowd(service.api.address(), 20, wishes.collect()).await;
    let made = made(&replies, "insufficient_balance");
    let balances: BTreeSet<String> = made.iter().map(|reply| reply.text("balance_after")).collect();
    assert_eq!(made.len(), 3);
    let expected = ["0.00", "10.00", "20.00"].map(str::to_owned);
    assert_eq!(balances, BTreeSet::from(expected));
    for reply in replies.iter().filter(|reply| reply.status == 400) {
        assert_eq!((reply.text("balance"), reply.text("total")), ("0.00".into(), "10.00".into()));
    }
    assert_eq!(service.api.balance(&user).await, "0.00");
    service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_two_gives_two_to_twenty_new_keys_in_parallel() {
    let service = Service::start().await;
    let user = service.api.user("1000.00").await;
    let sale = json!({ "unit_price": "1.00", "stock": 100, "per_user_limit": 2 });
    let sale = service.api.sale_with(sale).await;
    let wishes = (0..20).map(|_| Wish::unit(&user, &sale)).collect();
    let replies = crowd(service.api.address(), 20, wishes).await;
    assert_eq!(made(&replies, "purchase_limit_reached").len(), 2);
    for reply in replies.iter().filter(|reply| reply.status == 400) {
        assert_eq!((&reply.body["limit"], &reply.body["bought"]), (&json!(2), &json!(2)));
    }
    assert_eq!(service.api.stock(&sale).await, 98);
    service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_and_orders_of_one_wallet_form_one_chain() {
    let service = Service::start().await;
    let user = service.api.user("5.00").await;
    let sale = service.api.sale("1.00", 1000).await;
    let wishes = (0..80).map(|n| match n % 2 {
        0 => Wish::unit(&user, &sale),
        _ => Wish::deposit(&new_key(), &user, "1.00"),
    });
    let replies = crowd(service.api.address(), 40, wishes.collect()).await;
    let made = made(&replies, "insufficient_balance");
    let orders = made.iter().filter(|reply| reply.body["sale_id"] == json!(sale));
    let (orders, left) = (orders.count(), 45);
    assert_eq!(service.api.balance(&user).await, format!("{}.00", left - orders));
    let mut session = service.database.session().await;
    let chain: Vec<(i64, bool)> = sqlx::query_as(
        "SELECT number, balance_after = amount + lag(balance_after, 1, 0.00) OVER (ORDER BY number)
         FROM ledger_entries WHERE user_id = $1::uuid ORDER BY number",
    )
    .bind(&user)
    .fetch_all(&mut session)
    .await
    .unwrap();
    let entries = (41 + orders) as i64;
    assert!(chain.into_iter().eq((1..=entries).map(|number| (number, true))));
    service.finish().await;
}

/// One statement is one snapshot: in each of them the money and the units are all there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_table_reads_during_a_run_never_miss_a_cent() {
    let service = Service::start().await;
    let buyers = seed_buyers(&service.database, 40, "12.00").await;
    let sale = service.api.sale("3.00", 300).await;
    let wishes = (0..600).map(|n| match n % 3 {
        0 => Wish::deposit(&new_key(), &buyers[n % 40], "2.00"),
        _ => Wish::unit(&buyers[n % 40], &sale),
    });
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read_until(service.database.clone(), Arc::clone(&done)));
    let replies = crowd(service.api.address(), CONNECTIONS, wishes.collect()).await;
    done.store(true, Ordering::Relaxed);
    let states = reader.await.unwrap();
    let made = made(&replies, "insufficient_balance");
    assert!(made.len() < replies.len(), "some of them could not pay");
    assert!(states.len() >= 10, "too few states were seen: {states:?}");
    service.finish().await;
}

/// Reads everything again and again; returns the numbers of orders that were seen.
async fn read_until(database: TestDatabase, done: Arc<AtomicBool>) -> BTreeSet<i64> {
    let mut session = database.session().await;
    let mut states = BTreeSet::new();
    while !done.load(Ordering::Relaxed) {
        let (money, units, orders): (bool, bool, i64) = sqlx::query_as(
            "SELECT (SELECT sum(balance) FROM wallets)
                    + (SELECT coalesce(sum(total), 0) FROM orders)
                    = (SELECT sum(amount) FROM ledger_entries WHERE type = 'deposit'),
                    (SELECT sum(stock) FROM sales) + (SELECT coalesce(sum(quantity), 0) FROM orders)
                    = (SELECT sum(stock_initial) FROM sales),
                    (SELECT count(*) FROM orders)",
        )
        .fetch_one(&mut session)
        .await
        .unwrap();
        assert!(money && units, "money {money}, units {units} at {orders} orders");
        states.insert(orders);
    }
    states
}

/// The negative control: if this fails, the crowd is too polite and the tests above prove nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_crowd_makes_a_naive_shop_oversell() {
    let database = TestDatabase::create().await;
    // It says nothing of its own, so a stricter default would save it.
    database.default_isolation("read committed").await;
    let units = 10;
    let (address, sale) = naive::open(&database, units).await;
    let user = "0190a000-0000-7000-8000-00000000ffff";
    let wishes = (0..units * BUYERS_PER_UNIT).map(|_| Wish::unit(user, &sale));
    let replies = race(address, CONNECTIONS, wishes.collect()).await;
    let sold = replies.iter().filter(|reply| reply.status == 201).count();
    let left = naive::units_left(&database).await;
    assert!(
        sold + left > units as usize,
        "{sold} sold, {left} left of {units}: nobody met anybody"
    );
}
