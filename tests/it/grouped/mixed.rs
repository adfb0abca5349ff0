//! A group as large as they come, of everything that can be in one.

use std::sync::Arc;
use std::time::Duration;

use flashdeal::adapters::postgres::connect::parse_url;
use flashdeal::adapters::postgres::store::PgStore;
use flashdeal::domain::id::{Id, SaleId, UserId};
use flashdeal::domain::refusal::Refusal;
use flashdeal::logic::keyed::Answer;
use flashdeal::logic::orders::grouped::{GROUP_MAX, Grouped, GroupedOptions};
use flashdeal::logic::orders::{Deciding, Engine};
use flashdeal::ports::store::{Store, Transaction};
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use crate::store_contract::worlds::{make_user, open_sale, wish};
use crate::support::locks::{Held, until, until_anyone_waits};
use crate::support::postgres::TestDatabase;
use crate::support::relay::Relay;
use crate::support::service::assert_balanced;

const SALE: SaleId = Id::new(Uuid::from_u128(7));
/// Keys that have an order already.
const REPLAYED: usize = 20;
/// Keys that come twice.
const TWINS: usize = 30;
/// Orders that lose.
const LOSERS: usize = 100;

fn buyer(number: usize) -> UserId {
    UserId::new(Uuid::from_u128(0xb000 + number as u128))
}

/// The attempt of a buyer under their key.
fn press<S: Store>(engine: &Grouped<S>, attempt: usize, number: usize) -> Deciding {
    let id = 1_000_000 + 10 * attempt as u128;
    engine.place(wish(id, buyer(number), SALE, &format!("k{number}")))
}

/// Winners, losers, replays and twins: BEGIN, claim, earlier orders, locks, record, keys given
/// back, COMMIT, and nothing for each order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_group_of_everything_costs_seven_statements() {
    let database = TestDatabase::create().await;
    let relay = Relay::to(&database).await;
    let pool = PgPoolOptions::new().max_connections(4);
    let pool = pool.connect_with(parse_url(&relay.url()).unwrap()).await.unwrap();
    let store = PgStore::admitted(pool.clone());
    let buyers = GROUP_MAX - TWINS;
    let mut transaction = store.begin().await.unwrap();
    for number in 0..=buyers {
        make_user(&mut transaction, buyer(number), 100).await;
    }
    let stock = u32::try_from(buyers + 1 - LOSERS).unwrap();
    assert!(transaction.insert_sale(&open_sale(7, 100, stock)).await.unwrap());
    transaction.commit().await.unwrap();
    let long = Duration::from_secs(60);
    let options =
        GroupedOptions { slots: 2, waiting_max: 10_000, wait_max: long, time_limit: long };
    let engine = Grouped::new(store, options, Arc::default());
    for number in 1..=REPLAYED {
        assert!(matches!(press(&engine, number, number).await, Ok(Answer::Made(_))));
    }

    let held = Held::sale(&database, &SALE.to_string()).await;
    let first = tokio::spawn(press(&engine, 100, 0));
    until_anyone_waits(&database).await;
    let before = relay.in_transactions();
    let twice = (1..=buyers).chain(REPLAYED + 1..=REPLAYED + TWINS);
    let pressed = twice.enumerate().map(|(at, number)| press(&engine, 1_000 + at, number));
    let pressed: Vec<_> = pressed.map(tokio::spawn).collect();
    until("all wait", async || engine.waiting() == GROUP_MAX).await;
    held.release().await;
    assert!(matches!(first.await.unwrap(), Ok(Answer::Made(_))));
    let (mut made, mut replayed, mut lost) = (0, 0, 0);
    for answer in pressed {
        match answer.await.unwrap() {
            Ok(Answer::Made(_)) => made += 1,
            Ok(Answer::Replayed(_)) => replayed += 1,
            Ok(Answer::Refused(Refusal::OutOfStock { stock: 0 })) => lost += 1,
            other => panic!("{other:?}"),
        }
    }
    let won = buyers - REPLAYED - LOSERS;
    assert_eq!((made, replayed, lost), (won, REPLAYED + TWINS, LOSERS));
    // Before these seven, write and COMMIT of the first.
    assert_eq!(relay.in_transactions() - before, 2 + 7);
    pool.close().await;
    assert_balanced(&database).await;
}
