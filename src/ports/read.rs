//! The narrow read door for single reads and lists: committed facts, no locks.

use std::future::Future;

use super::store::StoreError;
use crate::domain::Instant;
use crate::domain::books::Audit;
use crate::domain::id::{OrderId, SaleId, UserId};
use crate::domain::key::IdempotencyKey;
use crate::domain::ledger::LedgerEntry;
use crate::domain::order::Order;
use crate::domain::sale::{Sale, SaleStatus};
use crate::domain::text::ShortText;
use crate::domain::user::User;
use crate::domain::wallet::Wallet;
use uuid::Uuid;

/// A page of a list, newest first.
#[derive(Debug, Clone)]
pub struct Page<T, At> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<At>,
}

/// Who bought, and with which order of which sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bought {
    /// The sale.
    pub sale: SaleId,
    /// The order.
    pub order: OrderId,
    /// The buyer.
    pub user: UserId,
}

/// A position in a list by time of making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// When the last item of the page was made.
    pub created_at: Instant,
    /// Its id.
    pub id: Uuid,
}

/// A position in a list of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderPosition {
    /// Before this order: by id, since ids of orders sort by time; of one user by what the wallet
    /// paid before it.
    Id(OrderId),
    /// Before this sequence: within one sale.
    Sequence(i64),
}

/// Which orders a list holds. Absent members do not filter.
#[derive(Debug, Clone, Default)]
pub struct OrderFilter {
    /// Of this user.
    pub user_id: Option<UserId>,
    /// Of this sale.
    pub sale_id: Option<SaleId>,
    /// Made under this key of `user_id`.
    pub key: Option<IdempotencyKey>,
    /// With this reference.
    pub reference: Option<ShortText>,
}

impl OrderFilter {
    /// Whether the list runs along the sale's sequence instead of along ids: the order of decision
    /// of one sale.
    pub fn by_sequence(&self) -> bool {
        self.sale_id.is_some()
            && self.user_id.is_none()
            && self.key.is_none()
            && self.reference.is_none()
    }
}

/// A wallet with the moment of its last change.
#[derive(Debug, Clone)]
pub struct WalletView {
    /// The wallet.
    pub wallet: Wallet,
    /// When its balance last changed.
    pub updated_at: Instant,
}

/// A sale with the database's time at which it was read.
#[derive(Debug, Clone)]
pub struct SaleView {
    /// The sale.
    pub sale: Sale,
    /// The database's time, from which the status follows.
    pub read_at: Instant,
}

/// Committed facts. `limit` is at most [`Reads::PAGE_MAX`].
pub trait Reads: Clone + Send + Sync + 'static {
    /// The longest page.
    const PAGE_MAX: u32 = 200;

    /// One order.
    fn find_order(
        &self,
        id: OrderId,
    ) -> impl Future<Output = Result<Option<Order>, StoreError>> + Send;

    /// Orders, newest first.
    fn list_orders(
        &self,
        filter: &OrderFilter,
        from: Option<OrderPosition>,
        limit: u32,
    ) -> impl Future<Output = Result<Page<Order, OrderPosition>, StoreError>> + Send;

    /// One user.
    fn find_user(
        &self,
        id: UserId,
    ) -> impl Future<Output = Result<Option<User>, StoreError>> + Send;

    /// Users, newest first.
    fn list_users(
        &self,
        external_id: Option<&ShortText>,
        from: Option<Since>,
        limit: u32,
    ) -> impl Future<Output = Result<Page<User, Since>, StoreError>> + Send;

    /// One wallet.
    fn find_wallet(
        &self,
        user: UserId,
    ) -> impl Future<Output = Result<Option<WalletView>, StoreError>> + Send;

    /// A wallet's entries, newest first; `None` when there is no such wallet.
    fn list_entries(
        &self,
        user: UserId,
        before: Option<i64>,
        limit: u32,
    ) -> impl Future<Output = Result<Option<Page<LedgerEntry, i64>>, StoreError>> + Send;

    /// One sale.
    fn find_sale(
        &self,
        id: SaleId,
    ) -> impl Future<Output = Result<Option<SaleView>, StoreError>> + Send;

    /// Sales, newest first.
    fn list_sales(
        &self,
        status: Option<SaleStatus>,
        from: Option<Since>,
        limit: u32,
    ) -> impl Future<Output = Result<Page<SaleView, Since>, StoreError>> + Send;

    /// Orders behind the last known one of each of these sales, and with `others` those of all
    /// other sales, in the order of sale and sequence, at most `limit`. Where none is named, or the
    /// named one is no longer there (a failover has lost it, and its sequence may be another's by
    /// now), from the sale's first.
    fn orders_after(
        &self,
        known: &[(SaleId, Option<OrderId>)],
        others: bool,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Bought>, StoreError>> + Send;

    /// Checks the books in one snapshot.
    fn audit(&self) -> impl Future<Output = Result<Audit, StoreError>> + Send;
}
