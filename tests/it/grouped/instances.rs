//! Several instances and several sales on one database. Where locks do their work nobody comes as
//! far as the guards behind them, and no circle closes: neither is counted once.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::api::{Reply, new_key};
use crate::support::crowd::{Wish, crowd, seed_buyers};
use crate::support::locks::{Held, WAITS, number, sessions, until};
use crate::support::postgres::TestDatabase;
use crate::support::process::ServeProcess;
use crate::support::service::assert_balanced;

/// An instance of its own process, so that what it counts is its own.
async fn instance(database: &TestDatabase) -> ServeProcess {
    let environment = [
        ("DATABASE_URL", &*database.url),
        ("FLASHDEAL_LOG", "off"),
        ("FLASHDEAL_ENGINE", "grouped"),
        ("FLASHDEAL_LOCK_TIMEOUT", "20s"),
        ("FLASHDEAL_REQUEST_TIMEOUT", "90s"),
    ];
    ServeProcess::start(&environment).await
}

/// Nobody met in a circle, and no guard of the books had to step in.
async fn assert_quiet(processes: &[ServeProcess], database: &TestDatabase) {
    for process in processes {
        for series in ["invariant_alarms_total", "db_retries_total{sqlstate=\"40P01\"}"] {
            assert_eq!(process.api.counted(series).await, 0, "{series}");
        }
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(number(&mut database.session().await, deadlocks).await, 0);
    assert_balanced(database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_on_one_sale_never_come_as_far_as_the_guards() {
    let database = TestDatabase::create().await;
    let processes = [instance(&database).await, instance(&database).await];
    let buyers = seed_buyers(&database, 600, "10.00").await;
    let sale = processes[0].api.sale("10.00", 500).await;
    let wishes: Vec<Wish> = buyers.iter().map(|buyer| Wish::unit(buyer, &sale)).collect();
    let (left, right) = (wishes[..300].to_vec(), wishes[300..].to_vec());
    let (left, right) = tokio::join!(
        crowd(processes[0].api.address(), 32, left),
        crowd(processes[1].api.address(), 32, right)
    );
    let won = left.iter().chain(&right).filter(|reply| reply.status == 201).count();
    assert_eq!(won, 500);
    assert_quiet(&processes, &database).await;
    for process in processes {
        process.kill().await;
    }
}

/// Eight times: locked in an order that depends on the sale, two groups meet in a circle every
/// other time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_sales_that_share_their_buyers_never_meet_in_a_circle() {
    let database = TestDatabase::create().await;
    let shop = instance(&database).await;
    let mut buyers = seed_buyers(&database, 40, "20.00").await;
    buyers.sort();
    for _ in 0..8 {
        two_sales_at_once(&shop, &database, buyers.clone()).await;
    }
    assert_quiet(&[shop], &database).await;
}

/// Two sales with the same forty buyers, who came to them in opposite orders. One group of each
/// has locked some of the wallets when it comes to one that somebody holds: if they took them in
/// different orders, each would now want what the other has.
async fn two_sales_at_once(shop: &ServeProcess, database: &TestDatabase, mut buyers: Vec<String>) {
    let wallet = format!("SELECT 1 FROM wallets WHERE user_id = '{}' FOR UPDATE", buyers[20]);
    let (mut orders, mut held, mut session) = (JoinSet::new(), vec![], database.session().await);
    for lane in 1..=2 {
        let sale = shop.api.sale("1.00", 100).await;
        held.push(Held::sale(database, &sale).await);
        for (place, buyer) in buyers.iter().enumerate() {
            let (api, sale, buyer) = (shop.api.clone(), sale.clone(), buyer.clone());
            orders.spawn(async move { api.buy(&new_key(), &buyer, &sale).await });
            if place == 0 {
                let waits = async || sessions(&mut session, WAITS).await == lane;
                until("the first of a lane waits for its sale", waits).await;
            }
        }
        let depth = lane as u64 * 39;
        let full = async || shop.api.counted("order_queue_depth").await == depth;
        until("the others wait in the lane", full).await;
        buyers.reverse();
    }
    let wallet = Held::by(database, wallet).await;
    for sale in held {
        sale.release().await;
    }
    // One has come as far as the wallet that is held, the other to it or to one of the first's.
    let both = async || sessions(&mut session, WAITS).await == 2;
    until("both groups wait for a wallet", both).await;
    wallet.release().await;
    let ended = tokio::time::timeout(Duration::from_secs(60), orders.join_all());
    for reply in ended.await.expect("answers in time") {
        let Reply { status, .. } = &reply;
        assert_eq!(*status, 201, "{reply:?}");
    }
}
