//! The one place that says yes or no.
//!
//! [`decide`] is pure: facts in, an order or a refusal out. All three engines call it with facts
//! they hold locks on (or verify at the write), so they cannot disagree about what is allowed.
//! The precedence of refusals is part of the contract (section 5).

use super::Instant;
use super::ledger::{EntryKind, LedgerEntry};
use super::order::{Order, PlaceOrder};
use super::refusal::Refusal;
use super::sale::Sale;
use super::wallet::Wallet;

/// What is known of the buyer at the moment of decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Buyer {
    /// The wallet, if there is such a user.
    pub wallet: Option<Wallet>,
    /// Units this user already owns from this sale.
    pub units_bought: u32,
}

/// Decides one order. Precedence: order expired, sale unknown, sale not open, limit per user,
/// stock, wallet unknown, balance.
///
/// `now` is the database's clock, read after the sale was locked.
///
/// # Errors
/// The [`Refusal`] that comes first in the precedence. A refusal changes nothing.
pub fn decide(
    sale: Option<&Sale>,
    buyer: &Buyer,
    request: &PlaceOrder,
    now: Instant,
) -> Result<Order, Refusal> {
    if let Some(valid_until) = request.valid_until.filter(|limit| *limit < now) {
        return Err(Refusal::OrderExpired { valid_until, now });
    }
    let sale = sale.ok_or(Refusal::SaleNotFound)?;
    if !sale.is_open(now) {
        let (starts_at, ends_at) = (sale.starts_at, sale.ends_at);
        return Err(Refusal::SaleNotOpen { starts_at, ends_at, now });
    }
    let units = request.quantity.units();
    if let Some(limit) = sale.per_user_limit.filter(|limit| buyer.units_bought + units > *limit) {
        return Err(Refusal::LimitReached { limit, bought: buyer.units_bought });
    }
    if sale.stock < units {
        return Err(Refusal::OutOfStock { stock: sale.stock });
    }
    let wallet = buyer.wallet.ok_or(Refusal::UserNotFound)?;
    let total = sale.unit_price.times(units);
    let balance_after = wallet
        .balance
        .minus(total)
        .ok_or(Refusal::InsufficientBalance { balance: wallet.balance, total })?;
    Ok(Order {
        id: request.order_id,
        user_id: request.user_id,
        sale_id: sale.id,
        sequence: sale.order_count + 1,
        quantity: request.quantity,
        unit_price: sale.unit_price,
        total,
        balance_after,
        reference: request.reference.clone(),
        created_at: now,
    })
}

/// The debit that pays for `order` out of `wallet`.
pub fn debit_for(order: &Order, wallet: &Wallet, request: &PlaceOrder) -> LedgerEntry {
    LedgerEntry {
        id: request.entry_id,
        user_id: order.user_id,
        number: wallet.entry_count + 1,
        kind: EntryKind::Order(order.id),
        amount: order.total,
        balance_after: order.balance_after,
        reference: order.reference.clone(),
        created_at: order.created_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{EntryId, Id, OrderId, SaleId, UserId};
    use crate::domain::key::IdempotencyKey;
    use crate::domain::money::Money;
    use crate::domain::quantity::Quantity;
    use crate::domain::text::ShortText;
    use chrono::{DateTime, TimeDelta};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn noon() -> Instant {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn sale() -> Sale {
        Sale {
            id: SaleId::new(Uuid::from_u128(2)),
            name: ShortText::parse("lamp").unwrap(),
            sku: None,
            unit_price: Money::from_cents(1_000),
            stock: 5,
            stock_initial: 10,
            per_user_limit: Some(3),
            starts_at: noon(),
            ends_at: Some(noon() + TimeDelta::hours(1)),
            sold_out_at: None,
            created_at: noon(),
            order_count: 7,
        }
    }

    fn buyer(cents: u64, units_bought: u32) -> Buyer {
        let user_id = UserId::new(Uuid::from_u128(1));
        let wallet = Wallet { user_id, balance: Money::from_cents(cents), entry_count: 4 };
        Buyer { wallet: Some(wallet), units_bought }
    }

    fn request(units: u64) -> PlaceOrder {
        PlaceOrder {
            order_id: OrderId::new(Uuid::from_u128(3)),
            entry_id: EntryId::new(Uuid::from_u128(4)),
            user_id: Id::new(Uuid::from_u128(1)),
            sale_id: Id::new(Uuid::from_u128(2)),
            quantity: Quantity::new(units).unwrap(),
            reference: None,
            valid_until: None,
            key: IdempotencyKey::parse(b"k").unwrap(),
        }
    }

    #[test]
    fn a_yes_takes_exactly_the_price_and_follows_the_last_order() {
        let order = decide(Some(&sale()), &buyer(2_500, 0), &request(2), noon()).unwrap();
        assert_eq!(order.total, Money::from_cents(2_000));
        assert_eq!(order.balance_after, Money::from_cents(500));
        assert_eq!(order.sequence, 8);
        let mut sale = sale();
        sale.apply(&order);
        assert_eq!((sale.stock, sale.order_count, sale.sold_out_at), (3, 8, None));
        let mut wallet = buyer(2_500, 0).wallet.unwrap();
        wallet.apply(&debit_for(&order, &wallet, &request(2)));
        assert_eq!((wallet.balance, wallet.entry_count), (Money::from_cents(500), 5));
    }

    /// Everything is wrong at once, then one obstacle after the other is taken away.
    #[test]
    fn refusals_come_in_the_order_of_the_contract() {
        let late = noon() + TimeDelta::hours(2);
        let nobody = Buyer { wallet: None, units_bought: 3 };
        let mut wish = request(2);
        wish.valid_until = Some(noon());
        let mut sale = sale();
        sale.stock = 0;
        let code = |sale: Option<&Sale>, buyer: &Buyer, wish: &PlaceOrder, now| {
            decide(sale, buyer, wish, now).map_err(|refusal| refusal.code())
        };
        assert_eq!(code(None, &nobody, &wish, late), Err("order_expired"));
        wish.valid_until = None;
        assert_eq!(code(None, &nobody, &wish, late), Err("sale_not_found"));
        assert_eq!(code(Some(&sale), &nobody, &wish, late), Err("sale_not_open"));
        assert_eq!(code(Some(&sale), &nobody, &wish, noon()), Err("purchase_limit_reached"));
        let nobody = Buyer::default();
        assert_eq!(code(Some(&sale), &nobody, &wish, noon()), Err("out_of_stock"));
        sale.stock = 2;
        assert_eq!(code(Some(&sale), &nobody, &wish, noon()), Err("user_not_found"));
        let poor = buyer(1_999, 0);
        assert_eq!(code(Some(&sale), &poor, &wish, noon()), Err("insufficient_balance"));
        assert!(code(Some(&sale), &buyer(2_000, 1), &wish, noon()).is_ok());
    }

    #[test]
    fn the_window_is_closed_at_its_start_and_open_at_its_end() {
        let at = |now| decide(Some(&sale()), &buyer(9_999, 0), &request(1), now).is_ok();
        let (start, end) = (noon(), noon() + TimeDelta::hours(1));
        let tick = TimeDelta::microseconds(1);
        assert_eq!(
            [at(start - tick), at(start), at(end - tick), at(end)],
            [false, true, true, false]
        );
    }

    #[test]
    fn valid_until_is_the_last_good_moment() {
        let mut wish = request(1);
        wish.valid_until = Some(noon());
        let at = |now| decide(Some(&sale()), &buyer(9_999, 0), &wish, now).is_ok();
        assert!(at(noon()));
        assert!(!at(noon() + TimeDelta::microseconds(1)));
    }

    proptest! {
        #[test]
        fn a_yes_never_leaves_the_bounds(
            units in 1u64..=100, stock in 0u32..200, bought in 0u32..10,
            limit in proptest::option::of(1u32..150), cents in 0u64..300_000,
        ) {
            let sale = Sale { stock, stock_initial: 200, per_user_limit: limit, ..sale() };
            let buyer = buyer(cents, bought);
            if let Ok(order) = decide(Some(&sale), &buyer, &request(units), noon()) {
                let mut after = sale.clone();
                after.apply(&order);
                prop_assert_eq!(after.stock + order.quantity.units(), stock);
                prop_assert_eq!(
                    order.balance_after.plus(order.total), Some(Money::from_cents(cents)));
                prop_assert!(limit.is_none_or(|l| bought + order.quantity.units() <= l));
            }
        }
    }
}
