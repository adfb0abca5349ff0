//! Claims that bring the locks with them: what they find, what they wait for, and which of the two
//! failed.

use std::time::Duration;

use flashdeal::adapters::postgres::store::PgStore;
use flashdeal::domain::id::SaleId;
use flashdeal::domain::key::{KeyRef, Operation};
use flashdeal::ports::store::{Locked, NotReached, Reached, Store, StoreError, Transaction};
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use super::keys::{claim, give_back, order_key};
use super::records::{arrange, place, wishes};
use super::worlds::key;
use super::{BUYER, OTHER, SALE, postgresql};
use crate::support::locks::{Held, until_anyone_waits};
use crate::support::postgres::TestDatabase;
use crate::support::service::assert_balanced;

on_both_stores! {
    claims_that_are_all_ours_bring_the_locks_and_others_say_which_are,
}

const SALE_ID: SaleId = SaleId::new(Uuid::from_u128(SALE));

async fn claims_that_are_all_ours_bring_the_locks_and_others_say_which_are<S: Store>(store: &S) {
    arrange(store).await;
    let taken = KeyRef::of_user(BUYER, Operation::CreateDeposit, key("taken"));
    let mut transaction = store.begin().await.unwrap();
    transaction.claim_keys(&[claim(1, taken.clone())]).await.unwrap();
    transaction.commit().await.unwrap();

    let mut transaction = store.begin().await.unwrap();
    let mut claims = vec![claim(2, order_key("a")), claim(3, taken.clone())];
    claims.sort_by(|a, b| a.key.cmp(&b.key));
    let found = transaction.claim_and_lock(&claims, SALE_ID, &[BUYER, OTHER]).await.unwrap();
    let Reached::Keys(ours) = found else { panic!("one of the keys is taken") };
    let expected: Vec<bool> = claims.iter().map(|claim| claim.key != taken).collect();
    assert_eq!(ours, expected);
    transaction.rollback().await;

    let mut transaction = store.begin().await.unwrap();
    let claims = [claim(2, order_key("a")), claim(3, order_key("b"))];
    let found = transaction.claim_and_lock(&claims, SALE_ID, &[BUYER, OTHER]).await.unwrap();
    let Reached::Locks(locked) = found else { panic!("all keys are free") };
    assert_eq!(locked.sale.map(|sale| sale.id), Some(SALE_ID));
    assert!(locked.buyers.by_user[&BUYER].wallet.is_some());
    assert_eq!(transaction.claim_keys(&claims).await.unwrap(), [false, false], "they are held");
    transaction.rollback().await;
    give_back(store, &[taken]).await;
}

/// Claims one key and locks the sale and both wallets; `None` when the key is taken.
async fn enter(store: &PgStore, key: &str) -> Result<Option<Locked>, NotReached> {
    let mut transaction = store.begin().await.unwrap();
    let claims = [claim(2, order_key(key))];
    let reached = transaction.claim_and_lock(&claims, SALE_ID, &[BUYER, OTHER]).await;
    transaction.rollback().await;
    Ok(match reached? {
        Reached::Locks(locked) => Some(locked),
        Reached::Keys(_) => None,
    })
}

/// How the claim of `key` fails after 50 ms while somebody holds what `hold` takes. The server
/// shows parameters in its errors, as one may be told to.
async fn fails_while_held(key: &str, hold: impl AsyncFnOnce(&TestDatabase) -> Held) -> NotReached {
    let (store, database) = postgresql().await;
    arrange(&store).await;
    let options = [("lock_timeout", "50ms"), ("log_parameter_max_length_on_error", "-1")];
    let options = database.options().options(options);
    let impatient = PgStore::admitted(PgPoolOptions::new().connect_lazy_with(options));
    let held = hold(&database).await;
    let found = enter(&impatient, key).await;
    held.release().await;
    assert_balanced(&database).await;
    found.expect_err("it is held")
}

#[tokio::test]
async fn a_wait_in_vain_says_whether_it_was_for_a_key_the_sale_or_a_wallet() {
    let tricky = "lock_for_orders(uuid,uuid[])FROM-sales-s-WHERE";
    let (buyer, sale) = (BUYER.to_string(), SALE_ID.to_string());
    let key = async |database: &TestDatabase| Held::key(database, &buyer, tricky).await;
    let sale = async |database: &TestDatabase| Held::sale(database, &sale).await;
    let wallet = async |database: &TestDatabase| {
        let lock = format!("SELECT FROM wallets WHERE user_id = '{OTHER}' FOR UPDATE");
        Held::by(database, lock).await
    };
    let found = fails_while_held(tricky, key).await;
    assert!(matches!(found, NotReached::Keys(StoreError::LockTimeout { .. })), "{found:?}");
    let found = fails_while_held("a", sale).await;
    assert!(matches!(found, NotReached::Locks(StoreError::LockTimeout { .. })), "{found:?}");
    let found = fails_while_held("a", wallet).await;
    assert!(matches!(found, NotReached::Locks(StoreError::WalletHeld)), "{found:?}");
}

/// A replay never stands in the line for the hot row.
#[tokio::test]
async fn who_finds_a_key_taken_has_not_waited_for_the_sale() {
    let (store, database) = postgresql().await;
    arrange(&store).await;
    let taken = order_key("a");
    let mut transaction = store.begin().await.unwrap();
    transaction.claim_keys(&[claim(1, taken.clone())]).await.unwrap();
    transaction.commit().await.unwrap();
    let held = Held::sale(&database, &SALE_ID.to_string()).await;
    let found = tokio::time::timeout(Duration::from_secs(20), enter(&store, "a")).await;
    assert!(found.unwrap().unwrap().is_none());
    held.release().await;
    give_back(&store, &[taken]).await;
    assert_balanced(&database).await;
}

/// The statement began before the orders were there; what it says is of behind its wait for them.
#[tokio::test]
async fn the_facts_are_of_behind_the_wait() {
    let (store, database) = postgresql().await;
    let sale_id = arrange(&store).await;
    let mut before = store.begin().await.unwrap();
    let placed = place(&mut before, &wishes(sale_id)).await;
    let entering = tokio::spawn({
        let store = store.clone();
        async move { enter(&store, "other").await.unwrap().unwrap() }
    });
    until_anyone_waits(&database).await;
    before.commit().await.unwrap();
    let locked = entering.await.unwrap();
    assert_eq!(locked.sale, placed.sale);
    let bought = placed.orders.iter().filter(|order| order.user_id == BUYER);
    let units: u32 = bought.map(|order| order.quantity.units()).sum();
    assert!(units > 0 && locked.buyers.by_user[&BUYER].units_bought == units);
    let wallet = placed.wallets.iter().find(|wallet| wallet.user_id == BUYER);
    assert_eq!(locked.buyers.by_user[&BUYER].wallet.as_ref(), wallet);
    assert!(locked.waited.sale > Duration::ZERO);
    assert_balanced(&database).await;
}
