//! Claiming keys: who gets one, who waits, and what a taken key says.

use flashdeal::domain::id::SaleId;
use flashdeal::domain::key::{KeyRef, Operation};
use flashdeal::ports::store::{Claim, Earlier, Store, StoreError, Transaction};
use uuid::Uuid;

use super::worlds::{key, wish};
use super::{BUYER, OTHER, SALE, postgresql};
use crate::support::locks::until_anyone_waits;

on_both_stores! {
    a_key_is_claimed_once_and_says_what_it_stands_for,
    a_claim_that_does_not_commit_leaves_the_key_free,
    claims_are_answered_position_by_position_and_can_be_given_back,
    a_key_belongs_to_its_user_and_operation,
    a_twin_learns_how_the_first_claim_ended,
    claims_in_ascending_order_never_block_one_another_for_good,
}

pub(super) fn order_key(text: &str) -> KeyRef {
    KeyRef::of_user(BUYER, Operation::PlaceOrder, key(text))
}

/// A claim of a key for an order that its tests never write.
pub(super) fn claim(id: u128, key: KeyRef) -> Claim {
    let order = wish(id, BUYER, SaleId::new(Uuid::from_u128(SALE)), "any");
    Claim { key, fingerprint: order.fingerprint(), resource_id: Uuid::from_u128(id) }
}

async fn a_key_is_claimed_once_and_says_what_it_stands_for<S: Store>(store: &S) {
    let deposit = KeyRef::of_user(BUYER, Operation::CreateDeposit, key("a"));
    let first = claim(1, deposit.clone());
    let mut transaction = store.begin().await.unwrap();
    assert_eq!(transaction.earlier(&deposit).await.unwrap(), None);
    assert_eq!(transaction.claim_keys(std::slice::from_ref(&first)).await.unwrap(), [true]);
    transaction.commit().await.unwrap();

    let mut transaction = store.begin().await.unwrap();
    let second = claim(2, deposit.clone());
    assert_eq!(transaction.claim_keys(&[second]).await.unwrap(), [false]);
    let earlier = Earlier { fingerprint: first.fingerprint, resource_id: first.resource_id };
    assert_eq!(transaction.earlier(&deposit).await.unwrap(), Some(earlier));
    // The key of a deposit is no earlier order.
    let orders = transaction.earlier_orders(std::slice::from_ref(&deposit)).await.unwrap();
    assert!(orders.is_empty());
    transaction.rollback().await;
    give_back(store, &[deposit]).await;
}

/// In books that balance no key stands for nothing.
pub(super) async fn give_back<S: Store>(store: &S, keys: &[KeyRef]) {
    let mut transaction = store.begin().await.unwrap();
    transaction.release_keys(keys).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn a_claim_that_does_not_commit_leaves_the_key_free<S: Store>(store: &S) {
    for id in 1..=3 {
        let mut transaction = store.begin().await.unwrap();
        let claims = [claim(id, order_key("a")), claim(id + 10, order_key("b"))];
        assert_eq!(transaction.claim_keys(&claims).await.unwrap(), [true, true]);
        match id {
            1 => transaction.rollback().await,
            _ => drop(transaction),
        }
    }
}

async fn claims_are_answered_position_by_position_and_can_be_given_back<S: Store>(store: &S) {
    let claims = |from: u128| {
        ["a", "b", "c", "d"].map(|text| {
            claim(
                from + u128::from(text.as_bytes()[0]),
                KeyRef::of_installation(Operation::CreateSale, key(text)),
            )
        })
    };
    let [_, b, _, d] = claims(0);
    let mut transaction = store.begin().await.unwrap();
    assert_eq!(transaction.claim_keys(&[b, d]).await.unwrap(), [true, true]);
    transaction.commit().await.unwrap();

    let mut transaction = store.begin().await.unwrap();
    let ours = transaction.claim_keys(&claims(1_000)).await.unwrap();
    assert_eq!(ours, [true, false, true, false]);
    let [a, _, c, _] = claims(1_000).map(|claim| claim.key);
    transaction.release_keys(std::slice::from_ref(&a)).await.unwrap();
    assert_eq!(transaction.earlier(&a).await.unwrap(), None);
    transaction.commit().await.unwrap();

    let mut transaction = store.begin().await.unwrap();
    let ours = transaction.claim_keys(&claims(2_000)).await.unwrap();
    assert_eq!(ours, [true, false, false, false]);
    assert!(transaction.earlier(&c).await.unwrap().is_some());
    let nobody = KeyRef::of_installation(Operation::CreateSale, key("z"));
    let refused = transaction.release_keys(&[nobody]).await;
    assert!(
        matches!(refused, Err(StoreError::Stale { .. } | StoreError::Invariant(_))),
        "{refused:?}"
    );
    transaction.rollback().await;
    let [_, b, c, d] = claims(0).map(|claim| claim.key);
    give_back(store, &[b, c, d]).await;
}

async fn a_key_belongs_to_its_user_and_operation<S: Store>(store: &S) {
    let mut keys = vec![KeyRef::of_installation(Operation::CreateSale, key("a"))];
    for user in [BUYER, OTHER] {
        for operation in [Operation::PlaceOrder, Operation::CreateDeposit, Operation::CreateUser] {
            keys.push(KeyRef::of_user(user, operation, key("a")));
        }
    }
    keys.sort_unstable();
    let claims: Vec<Claim> = (1..).zip(keys).map(|(id, key)| claim(id, key)).collect();
    let mut transaction = store.begin().await.unwrap();
    assert_eq!(transaction.claim_keys(&claims).await.unwrap(), [true; 7]);
    transaction.rollback().await;
}

async fn a_twin_learns_how_the_first_claim_ended<S: Store>(store: &S) {
    let (freed, taken) =
        (order_key("freed"), KeyRef::of_user(BUYER, Operation::CreateUser, key("t")));
    for (key, commits, ours) in [(freed, 0, true), (taken.clone(), 1, false)] {
        let mut first = store.begin().await.unwrap();
        assert_eq!(first.claim_keys(&[claim(1, key.clone())]).await.unwrap(), [true]);
        let twin = tokio::spawn({
            let (store, key) = (store.clone(), key.clone());
            async move {
                let mut twin = store.begin().await.unwrap();
                let claimed = twin.claim_keys(&[claim(2, key.clone())]).await.unwrap();
                let earlier = twin.earlier(&key).await.unwrap();
                twin.rollback().await;
                (claimed[0], earlier.map(|earlier| earlier.resource_id))
            }
        });
        tokio::task::yield_now().await;
        match commits {
            0 => first.rollback().await,
            _ => first.commit().await.unwrap(),
        }
        let id = Uuid::from_u128(if ours { 2 } else { 1 });
        assert_eq!(twin.await.unwrap(), (ours, Some(id)));
    }
    give_back(store, &[taken]).await;
}

async fn claims_in_ascending_order_never_block_one_another_for_good<S: Store>(store: &S) {
    let mut twins = tokio::task::JoinSet::new();
    for n in 0..8_u64 {
        let store = store.clone();
        twins.spawn(async move {
            let mut rng = fastrand::Rng::with_seed(n);
            for round in 0..15 {
                let keys = ["a", "b", "c", "d", "e", "f"].iter().filter(|_| rng.bool());
                let id = u128::from(n) << 32 | round << 8;
                let claims = (id..).zip(keys).map(|(id, text)| claim(id, order_key(text)));
                let claims: Vec<Claim> = claims.collect();
                let mut transaction = store.begin().await.unwrap();
                let ours = transaction.claim_keys(&claims).await.unwrap();
                assert!(ours.iter().all(|ours| *ours), "nobody ever commits");
                transaction.rollback().await;
            }
        });
    }
    while let Some(twin) = twins.join_next().await {
        twin.unwrap();
    }
}

/// The wait itself, seen from another session: the twin neither fails nor goes on.
#[tokio::test]
async fn on_postgresql_a_twin_waits_at_the_claim() {
    let (store, database) = postgresql().await;
    let mut first = store.begin().await.unwrap();
    first.claim_keys(&[claim(1, order_key("a"))]).await.unwrap();
    let twin = tokio::spawn(async move {
        let mut twin = store.begin().await.unwrap();
        let ours = twin.claim_keys(&[claim(2, order_key("a"))]).await.unwrap();
        twin.rollback().await;
        ours
    });
    until_anyone_waits(&database).await;
    assert!(!twin.is_finished());
    first.commit().await.unwrap();
    assert_eq!(twin.await.unwrap(), [false]);
}
