//! An order: the wish (`PlaceOrder`) and the fact (`Order`).

use super::Instant;
use super::id::{EntryId, OrderId, SaleId, UserId};
use super::key::{Fingerprint, IdempotencyKey, KeyRef, Operation};
use super::money::Money;
use super::quantity::Quantity;
use super::text::ShortText;

/// A validated request for an order. The ids that it will have are made before it is decided, so
/// that every attempt and every replay speaks of the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceOrder {
    /// The id the order gets if it is confirmed.
    pub order_id: OrderId,
    /// The id of the debit.
    pub entry_id: EntryId,
    /// Who buys.
    pub user_id: UserId,
    /// From which sale.
    pub sale_id: SaleId,
    /// How much.
    pub quantity: Quantity,
    /// The caller's own reference.
    pub reference: Option<ShortText>,
    /// Not to be executed after this moment.
    pub valid_until: Option<Instant>,
    /// The key of the click.
    pub key: IdempotencyKey,
}

impl PlaceOrder {
    /// The key within its scope: the buyer and the operation.
    pub fn key_ref(&self) -> KeyRef {
        KeyRef::of_user(self.user_id, Operation::PlaceOrder, self.key.clone())
    }

    /// The meaning of the request: an absent quantity and 1 are the same.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Operation::PlaceOrder)
            .part("user_id", self.user_id)
            .part("sale_id", self.sale_id)
            .part("quantity", self.quantity.units())
            .optional("reference", self.reference.as_ref())
            .optional("valid_until", self.valid_until.map(|at| at.timestamp_micros()))
            .finish()
    }
}

/// A confirmed order. Never changed after it was written: the row is the receipt, and every replay
/// is written again from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The order's id.
    pub id: OrderId,
    /// Who bought.
    pub user_id: UserId,
    /// From which sale.
    pub sale_id: SaleId,
    /// 1 for the sale's first order, then without gaps, in the order of decision.
    pub sequence: i64,
    /// How much.
    pub quantity: Quantity,
    /// Price of one unit at the moment of decision.
    pub unit_price: Money,
    /// `quantity × unit_price`, what was taken from the wallet.
    pub total: Money,
    /// The wallet's balance behind this order.
    pub balance_after: Money,
    /// The caller's own reference.
    pub reference: Option<ShortText>,
    /// The moment of decision, by the database's clock.
    pub created_at: Instant,
}
