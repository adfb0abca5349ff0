//! What PostgreSQL guards against although no caller should do it: a writer who decided on facts
//! that are no longer true touches too few rows and fails, and nothing of it stays.

use chrono::TimeDelta;
use flashdeal::domain::id::Id;
use flashdeal::domain::money::Money;
use flashdeal::ports::store::{Store, StoreError, Transaction, Winners};
use uuid::Uuid;

use super::records::{arrange, place, wishes};
use super::worlds::deposit_of;
use super::{BUYER, postgresql};
use crate::support::service::assert_balanced;

/// Lets somebody record three orders, then records a fourth one, decided with `stale` facts.
async fn record_stale(stale: impl FnOnce(&mut Winners)) -> Result<(), StoreError> {
    let (store, database) = postgresql().await;
    let sale_id = arrange(&store).await;
    let mut transaction = store.begin().await.unwrap();
    let before = place(&mut transaction, &wishes(sale_id)).await;
    transaction.commit().await.unwrap();

    let mut transaction = store.begin().await.unwrap();
    let mut order = before.orders[0].clone();
    order.id = Id::new(Uuid::from_u128(0x400));
    order.sequence = 4;
    let wallet = before.wallets.iter().find(|wallet| wallet.user_id == BUYER);
    let mut wallet = *wallet.unwrap();
    order.balance_after = wallet.balance.minus(order.total).unwrap();
    let mut entry = before.entries[0].clone();
    entry.id = Id::new(Uuid::from_u128(0x401));
    entry.kind = flashdeal::domain::ledger::EntryKind::Order(order.id);
    entry.number = wallet.entry_count + 1;
    entry.balance_after = order.balance_after;
    wallet.apply(&entry);
    let mut sale = before.sale.unwrap();
    sale.apply(&order);
    let mut winners = Winners {
        orders: vec![order],
        entries: vec![entry],
        sale: Some(sale),
        wallets: vec![wallet],
        too_late: None,
    };
    stale(&mut winners);
    let recorded = transaction.record(&winners).await;
    transaction.rollback().await;
    assert_balanced(&database).await;
    recorded
}

fn assert_alarm(recorded: &Result<(), StoreError>, about: &str) {
    match recorded {
        Err(StoreError::Stale { what, .. }) if *what == about => {}
        Err(StoreError::Invariant(text)) if text.starts_with(about) => {}
        other => panic!("{other:?} is no alarm about {about}"),
    }
}

#[tokio::test]
async fn facts_that_are_true_can_be_recorded() {
    record_stale(|_| {}).await.unwrap();
}

#[tokio::test]
async fn a_sale_that_has_moved_on_refuses_the_write() {
    for step in [1, -1] {
        let recorded = record_stale(|winners| {
            let sale = winners.sale.as_mut().unwrap();
            sale.order_count += step;
            // A number that is free: the unique constraint must not be what saves us.
            winners.orders[0].sequence = 40;
        })
        .await;
        assert_alarm(&recorded, "the sale");
    }
}

#[tokio::test]
async fn a_wallet_that_has_moved_on_refuses_the_write() {
    let recorded = record_stale(|winners| {
        winners.wallets[0].entry_count += 1;
        winners.entries[0].number += 1;
    })
    .await;
    assert_alarm(&recorded, "wallets");
}

#[tokio::test]
async fn orders_without_their_sale_or_wallet_are_refused() {
    let recorded = record_stale(|winners| winners.sale = None).await;
    assert_alarm(&recorded, "orders without a sale");
    let recorded = record_stale(|winners| {
        let sale = winners.sale.as_mut().unwrap();
        sale.id = Id::new(Uuid::from_u128(0x5a1e5));
    })
    .await;
    assert!(
        matches!(recorded, Err(StoreError::Invariant(_) | StoreError::Stale { .. })),
        "{recorded:?}"
    );
}

/// By the database's clock, behind every wait in the write.
#[tokio::test]
async fn what_comes_too_late_for_one_of_the_orders_is_to_be_decided_again() {
    let at = |seconds| {
        move |winners: &mut Winners| {
            let made_at = winners.orders[0].created_at;
            winners.too_late = Some(made_at + TimeDelta::seconds(seconds));
        }
    };
    record_stale(at(3_600)).await.unwrap();
    match record_stale(at(0)).await {
        Err(StoreError::TooLate(_)) => {}
        other => panic!("{other:?} does not ask for another run"),
    }
}

/// The last guard: the schema refuses what the program should never have written.
#[tokio::test]
async fn the_schema_refuses_a_price_that_is_not_the_total() {
    let recorded = record_stale(|winners| winners.orders[0].total = Money::from_cents(1)).await;
    assert_alarm(&recorded, "23514");
}

#[tokio::test]
async fn a_deposit_into_a_wallet_that_has_moved_on_is_refused() {
    let (store, database) = postgresql().await;
    arrange(&store).await;
    let mut transaction = store.begin().await.unwrap();
    let (_, now) = transaction.lock_wallet(BUYER).await.unwrap().unwrap();
    let (mut entry, mut wallet) = deposit_of(BUYER, 700, now);
    entry.id = Id::new(Uuid::from_u128(0xde));
    (entry.number, wallet.entry_count) = (3, 3);
    let recorded = transaction.record_deposit(&entry, &wallet).await;
    assert_alarm(&recorded, "deposit");
    transaction.rollback().await;
    assert_balanced(&database).await;
}
