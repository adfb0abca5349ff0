//! Users, sales, orders and money: what is written is read back, and what is unknown is absent.

use flashdeal::domain::decision::{Buyer, debit_for, decide};
use flashdeal::domain::id::{Id, SaleId};
use flashdeal::domain::key::{KeyRef, Operation};
use flashdeal::domain::order::PlaceOrder;
use flashdeal::domain::quantity::Quantity;
use flashdeal::domain::text::ShortText;
use flashdeal::domain::user::User;
use flashdeal::ports::store::{Claim, Store, Transaction, Winners};
use uuid::Uuid;

use super::worlds::{deposit_of, key, make_user, open_sale, wish};
use super::{BUYER, OTHER, SALE};

on_both_stores! {
    what_is_unknown_is_absent,
    what_is_recorded_is_read_back_by_another_transaction,
    what_is_rolled_back_was_never_there,
    a_user_has_an_id_and_an_external_id_of_their_own,
    a_deposit_is_found_by_its_id_and_no_debit_is,
}

async fn what_is_unknown_is_absent<S: Store>(store: &S) {
    let mut transaction = store.begin().await.unwrap();
    make_user(&mut transaction, BUYER, 0).await;
    let sale_id = SaleId::new(Uuid::from_u128(SALE));
    let before = transaction.now().await.unwrap();
    let locked = transaction.lock(sale_id, &[BUYER, OTHER]).await.unwrap();
    let (sale, buyers) = (locked.sale, locked.buyers);
    assert_eq!(sale, None);
    assert!(before <= buyers.now && buyers.now <= transaction.now().await.unwrap());
    assert_eq!(buyers.by_user[&BUYER].wallet.unwrap().entry_count, 0);
    assert_eq!(buyers.by_user[&OTHER], Buyer::default());
    assert_eq!(transaction.sale(sale_id).await.unwrap(), None);
    assert_eq!(transaction.user(OTHER).await.unwrap(), None);
    assert!(transaction.lock_wallet(OTHER).await.unwrap().is_none());
    assert_eq!(transaction.deposit(Id::new(Uuid::from_u128(5))).await.unwrap(), None);
    assert!(
        transaction
            .earlier_orders(&[KeyRef::of_user(BUYER, Operation::PlaceOrder, key("a"))])
            .await
            .unwrap()
            .is_empty()
    );
    transaction.rollback().await;
}

/// Two users with money and a sale with a limit; commits.
pub(super) async fn arrange<S: Store>(store: &S) -> SaleId {
    let mut sale = open_sale(SALE, 250, 10);
    sale.per_user_limit = Some(6);
    let mut transaction = store.begin().await.unwrap();
    make_user(&mut transaction, BUYER, 2_000).await;
    make_user(&mut transaction, OTHER, 1_000).await;
    assert!(transaction.insert_sale(&sale).await.unwrap());
    transaction.commit().await.unwrap();

    let mut transaction = store.begin().await.unwrap();
    assert!(!transaction.insert_sale(&sale).await.unwrap(), "its id is taken");
    assert_eq!(transaction.sale(sale.id).await.unwrap(), Some(sale.clone()));
    transaction.rollback().await;
    sale.id
}

/// Three orders of two users, keys ascending.
pub(super) fn wishes(sale: SaleId) -> [PlaceOrder; 3] {
    let mut second = wish(0x200, OTHER, sale, "b");
    second.quantity = Quantity::new(4).unwrap();
    second.reference = Some(ShortText::parse("cart 7").unwrap());
    [wish(0x100, BUYER, sale, "a"), second, wish(0x300, BUYER, sale, "c")]
}

/// Locks and decides as an engine does, and records; the caller ends the transaction.
pub(super) async fn place<T: Transaction>(transaction: &mut T, wishes: &[PlaceOrder]) -> Winners {
    let claims: Vec<Claim> = wishes
        .iter()
        .map(|wish| Claim {
            key: wish.key_ref(),
            fingerprint: wish.fingerprint(),
            resource_id: wish.order_id.uuid(),
        })
        .collect();
    assert!(transaction.claim_keys(&claims).await.unwrap().iter().all(|ours| *ours));
    let locked = transaction.lock(wishes[0].sale_id, &[BUYER, OTHER]).await.unwrap();
    let (mut sale, mut buyers) = (locked.sale.unwrap(), locked.buyers);
    let mut winners = Winners::default();
    for wish in wishes {
        let buyer = buyers.by_user.get_mut(&wish.user_id).unwrap();
        let order = decide(Some(&sale), buyer, wish, buyers.now).unwrap();
        let wallet = buyer.wallet.as_mut().unwrap();
        let entry = debit_for(&order, wallet, wish);
        wallet.apply(&entry);
        sale.apply(&order);
        winners.orders.push(order);
        winners.entries.push(entry);
    }
    winners.wallets = buyers.by_user.values().filter_map(|buyer| buyer.wallet).collect();
    winners.sale = Some(sale);
    transaction.record(&winners).await.unwrap();
    winners
}

async fn what_is_recorded_is_read_back_by_another_transaction<S: Store>(store: &S) {
    let sale_id = arrange(store).await;
    let wishes = wishes(sale_id);
    let mut transaction = store.begin().await.unwrap();
    let winners = place(&mut transaction, &wishes).await;
    transaction.commit().await.unwrap();

    let mut transaction = store.begin().await.unwrap();
    let locked = transaction.lock(sale_id, &[BUYER, OTHER]).await.unwrap();
    assert_eq!(locked.sale, winners.sale);
    assert_eq!(locked.sale.as_ref().map(|sale| (sale.stock, sale.order_count)), Some((4, 3)));
    assert_eq!(transaction.sale(sale_id).await.unwrap(), winners.sale);
    let buyers = locked.buyers;
    for (user, units_bought) in [(BUYER, 2), (OTHER, 4)] {
        let wallet = winners.wallets.iter().find(|wallet| wallet.user_id == user);
        let wallet = wallet.copied();
        assert_eq!(buyers.by_user[&user], Buyer { wallet, units_bought });
        let locked = transaction.lock_wallet(user).await.unwrap();
        assert_eq!(locked.map(|(wallet, _)| wallet), wallet);
    }
    let unknown = KeyRef::of_user(BUYER, Operation::PlaceOrder, key("b"));
    let mut keys: Vec<KeyRef> = wishes.iter().map(PlaceOrder::key_ref).collect();
    keys.push(unknown);
    let mut earlier = transaction.earlier_orders(&keys).await.unwrap();
    for (wish, order) in wishes.iter().zip(&winners.orders) {
        let expected = (wish.fingerprint(), order.clone());
        assert_eq!(earlier.remove(&wish.key_ref()), Some(expected));
    }
    assert!(earlier.is_empty(), "{earlier:?}");
    transaction.rollback().await;
}

async fn what_is_rolled_back_was_never_there<S: Store>(store: &S) {
    let sale_id = arrange(store).await;
    // Twice: what is left behind the first time would be in the way of the second.
    for _ in 0..2 {
        let mut transaction = store.begin().await.unwrap();
        let locked = transaction.lock(sale_id, &[]).await.unwrap();
        assert_eq!(locked.sale.map(|sale| (sale.stock, sale.order_count)), Some((10, 0)));
        place(&mut transaction, &wishes(sale_id)).await;
        transaction.rollback().await;
    }
    let mut transaction = store.begin().await.unwrap();
    let wallet = transaction.lock_wallet(BUYER).await.unwrap().unwrap().0;
    let now = transaction.now().await.unwrap();
    assert_eq!(wallet, deposit_of(BUYER, 2_000, now).1);
    transaction.rollback().await;
}

async fn a_user_has_an_id_and_an_external_id_of_their_own<S: Store>(store: &S) {
    let mut transaction = store.begin().await.unwrap();
    let text = |text: &str| Some(ShortText::parse(text).unwrap());
    let user = User {
        id: BUYER,
        external_id: text("shop-1"),
        name: text("Ada"),
        created_at: transaction.now().await.unwrap(),
    };
    assert!(transaction.insert_user(&user).await.unwrap());
    transaction.commit().await.unwrap();

    let mut transaction = store.begin().await.unwrap();
    assert_eq!(transaction.user(BUYER).await.unwrap(), Some(user.clone()));
    let renamed = User { external_id: text("shop-2"), name: None, ..user.clone() };
    assert!(!transaction.insert_user(&renamed).await.unwrap(), "the id is taken");
    assert_eq!(transaction.user(BUYER).await.unwrap(), Some(user.clone()));
    let other = User { id: OTHER, external_id: None, ..user.clone() };
    assert!(transaction.insert_user(&other).await.unwrap(), "none is nobody's");
    let third = User { id: Id::new(Uuid::from_u128(3)), ..user };
    assert!(!transaction.insert_user(&third).await.unwrap(), "the external id is taken");
    assert_eq!(transaction.user(third.id).await.unwrap(), None, "so it is not the id");
    transaction.rollback().await;
}

async fn a_deposit_is_found_by_its_id_and_no_debit_is<S: Store>(store: &S) {
    let sale_id = arrange(store).await;
    let mut transaction = store.begin().await.unwrap();
    let winners = place(&mut transaction, &wishes(sale_id)).await;
    transaction.commit().await.unwrap();

    let mut transaction = store.begin().await.unwrap();
    for debit in &winners.entries {
        assert_eq!(transaction.deposit(debit.id).await.unwrap(), None);
    }
    let id = Uuid::from_u128(0xde);
    let key = KeyRef::of_user(BUYER, Operation::CreateDeposit, key("top-up"));
    let fingerprint = wishes(sale_id)[0].fingerprint();
    let claim = Claim { key, fingerprint, resource_id: id };
    assert_eq!(transaction.claim_keys(&[claim]).await.unwrap(), [true]);
    let (mut wallet, now) = transaction.lock_wallet(BUYER).await.unwrap().unwrap();
    let (mut entry, _) = deposit_of(BUYER, 700, now);
    entry.id = Id::new(id);
    entry.number = wallet.entry_count + 1;
    entry.balance_after = wallet.balance.plus(entry.amount).unwrap();
    entry.reference = Some(ShortText::parse("top-up").unwrap());
    wallet.apply(&entry);
    transaction.record_deposit(&entry, &wallet).await.unwrap();
    transaction.commit().await.unwrap();

    let mut transaction = store.begin().await.unwrap();
    assert_eq!(transaction.deposit(entry.id).await.unwrap(), Some(entry));
    let locked = transaction.lock_wallet(BUYER).await.unwrap();
    assert_eq!(locked.map(|(wallet, _)| wallet), Some(wallet));
    transaction.rollback().await;
}
