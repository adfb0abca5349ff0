//! The read port on PostgreSQL: committed facts by primary key or along one index.
//!
//! Each list has one statement for each way in, so that each has a plan of its own; the filters
//! that remain are applied on the way.

use super::bought_repo::orders_after;
use super::error::store_error;
use super::order_lists::{
    orders_by_reference, orders_of_all, orders_of_key, orders_of_sale, orders_of_user,
};
use super::order_repo::OrderRecord;
use super::paging::{page, position};
use super::sale_repo::{self, SaleRecord};
use super::servers::Servers;
use super::session::Session;
use super::sessions::Sessions;
use super::stats_repo::{self, Sample};
use super::store::Gate;
use super::user_repo::{self, UserRecord};
use super::verify_repo::Auditor;
use super::wallet_repo::EntryRecord;
use crate::domain::books::Audit;
use crate::domain::id::{OrderId, SaleId, UserId};
use crate::domain::ledger::LedgerEntry;
use crate::domain::order::Order;
use crate::domain::sale::{Sale, SaleStatus};
use crate::domain::text::ShortText;
use crate::domain::user::User;
use crate::domain::wallet::Wallet;
use crate::ports::read::{
    Bought, OrderFilter, OrderPosition, Page, Reads, SaleView, Since, WalletView,
};
use crate::ports::store::StoreError;

/// Reads through the shared gate.
#[derive(Debug, Clone)]
pub struct PgReads {
    sessions: Sessions,
    gate: Gate,
    auditor: Auditor,
}

impl PgReads {
    /// Reads over `sessions`, as many at a time as `gate` lets in. Audits have a session of their
    /// own, on one of `servers`.
    pub fn new(sessions: impl Into<Sessions>, gate: Gate, servers: impl Into<Servers>) -> PgReads {
        PgReads { sessions: sessions.into(), gate, auditor: Auditor::new(servers.into()) }
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn sample(&self) -> Result<Sample, StoreError> {
        let mut session = self.session().await?;
        let sample = stats_repo::sample(session.connection()).await?;
        session.done();
        Ok(sample)
    }

    /// Rows inserted into the database since its counters began, by anybody.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn rows_inserted(&self) -> Result<i64, StoreError> {
        let mut session = self.session().await?;
        let rows = stats_repo::rows_inserted(session.connection()).await?;
        session.done();
        Ok(rows)
    }

    async fn session(&self) -> Result<Session, StoreError> {
        Session::open(&self.sessions, &self.gate).await
    }
}

fn all<R, T>(records: Vec<R>) -> Result<Vec<T>, StoreError>
where
    T: TryFrom<R, Error = StoreError>,
{
    records.into_iter().map(T::try_from).collect()
}

impl Reads for PgReads {
    async fn find_order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        let mut session = self.session().await?;
        let found = sqlx::query_as!(
            OrderRecord,
            "SELECT id, user_id, sale_id, sequence, quantity, unit_price, total, balance_after,
                    reference, created_at
             FROM orders WHERE id = $1",
            id.uuid(),
        )
        .fetch_optional(session.connection())
        .await
        .map_err(store_error)?;
        session.done();
        found.map(Order::try_from).transpose()
    }

    async fn list_orders(
        &self,
        filter: &OrderFilter,
        from: Option<OrderPosition>,
        limit: u32,
    ) -> Result<Page<Order, OrderPosition>, StoreError> {
        let mut session = self.session().await?;
        let connection = session.connection();
        let rows = i64::from(limit) + 1;
        let by_sequence = filter.by_sequence();
        let before_id = match from {
            Some(OrderPosition::Id(id)) => Some(id.uuid()),
            _ => None,
        };
        let records = if filter.key.is_some() {
            orders_of_key(connection, filter).await?
        } else if by_sequence {
            let before = match from {
                Some(OrderPosition::Sequence(sequence)) => sequence,
                _ => i64::MAX,
            };
            orders_of_sale(connection, filter, before, rows).await?
        } else if filter.user_id.is_some() {
            orders_of_user(connection, filter, before_id, rows).await?
        } else if filter.reference.is_some() {
            orders_by_reference(connection, filter, before_id, rows).await?
        } else {
            orders_of_all(connection, before_id, rows).await?
        };
        session.done();
        Ok(page(all(records)?, limit, |order: &Order| {
            if by_sequence {
                OrderPosition::Sequence(order.sequence)
            } else {
                OrderPosition::Id(order.id)
            }
        }))
    }

    async fn find_user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let mut session = self.session().await?;
        let user = user_repo::find(session.connection(), id).await?;
        session.done();
        Ok(user)
    }

    async fn list_users(
        &self,
        external_id: Option<&ShortText>,
        from: Option<Since>,
        limit: u32,
    ) -> Result<Page<User, Since>, StoreError> {
        let mut session = self.session().await?;
        let connection = session.connection();
        let (created_at, id) = position(from);
        let records = match external_id {
            Some(external_id) => {
                sqlx::query_as!(
                    UserRecord,
                    "SELECT id, external_id, name, created_at FROM users
                 WHERE external_id = $1 AND (created_at, id) < ($2, $3)",
                    external_id.as_str(),
                    created_at,
                    id,
                )
                .fetch_all(connection)
                .await
            }
            None => {
                sqlx::query_as!(
                    UserRecord,
                    "SELECT id, external_id, name, created_at FROM users
                 WHERE (created_at, id) < ($1, $2)
                 ORDER BY created_at DESC, id DESC LIMIT $3",
                    created_at,
                    id,
                    i64::from(limit) + 1,
                )
                .fetch_all(connection)
                .await
            }
        };
        let records = records.map_err(store_error)?;
        session.done();
        Ok(page(all(records)?, limit, |user: &User| Since {
            created_at: user.created_at,
            id: user.id.uuid(),
        }))
    }

    async fn find_wallet(&self, user: UserId) -> Result<Option<WalletView>, StoreError> {
        let mut session = self.session().await?;
        let found = sqlx::query!(
            "SELECT balance, entry_count, updated_at FROM wallets WHERE user_id = $1",
            user.uuid(),
        )
        .fetch_optional(session.connection())
        .await
        .map_err(store_error)?;
        session.done();
        found
            .map(|row| {
                let balance = super::order_repo::money(row.balance)?;
                let wallet = Wallet { user_id: user, balance, entry_count: row.entry_count };
                Ok(WalletView { wallet, updated_at: row.updated_at })
            })
            .transpose()
    }

    async fn list_entries(
        &self,
        user: UserId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Option<Page<LedgerEntry, i64>>, StoreError> {
        let mut session = self.session().await?;
        let connection = session.connection();
        let records = sqlx::query_as!(
            EntryRecord,
            "SELECT id, user_id, number, amount, balance_after, order_id, reference, created_at
             FROM ledger_entries WHERE user_id = $1 AND number < $2
             ORDER BY number DESC LIMIT $3",
            user.uuid(),
            before.unwrap_or(i64::MAX),
            i64::from(limit) + 1,
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
        let known = !records.is_empty() || user_repo::find(connection, user).await?.is_some();
        session.done();
        if !known {
            return Ok(None);
        }
        Ok(Some(page(all(records)?, limit, |entry: &LedgerEntry| entry.number)))
    }

    async fn find_sale(&self, id: SaleId) -> Result<Option<SaleView>, StoreError> {
        let mut session = self.session().await?;
        let sale = sale_repo::find(session.connection(), id).await?;
        let read_at = super::wallet_repo::now(session.connection()).await?;
        session.done();
        Ok(sale.map(|sale| SaleView { sale, read_at }))
    }

    async fn list_sales(
        &self,
        status: Option<SaleStatus>,
        from: Option<Since>,
        limit: u32,
    ) -> Result<Page<SaleView, Since>, StoreError> {
        let mut session = self.session().await?;
        let read_at = super::wallet_repo::now(session.connection()).await?;
        let (created_at, id) = position(from);
        let records = sqlx::query_as!(
            SaleRecord,
            "SELECT id, name, sku, unit_price, stock, stock_initial, per_user_limit, starts_at,
                    ends_at, sold_out_at, order_count, created_at
             FROM sales
             WHERE (created_at, id) < ($1, $2)
               AND ($3::text IS NULL OR $3 = CASE
                     WHEN $4 < starts_at THEN 'upcoming'
                     WHEN $4 >= ends_at THEN 'ended'
                     WHEN stock = 0 THEN 'sold_out'
                     ELSE 'live' END)
             ORDER BY created_at DESC, id DESC LIMIT $5",
            created_at,
            id,
            status.map(SaleStatus::name),
            read_at,
            i64::from(limit) + 1,
        )
        .fetch_all(session.connection())
        .await
        .map_err(store_error)?;
        session.done();
        let sales = page(all(records)?, limit, |sale: &Sale| Since {
            created_at: sale.created_at,
            id: sale.id.uuid(),
        });
        let items = sales.items.into_iter().map(|sale| SaleView { sale, read_at }).collect();
        Ok(Page { items, next: sales.next })
    }

    async fn orders_after(
        &self,
        known: &[(SaleId, Option<OrderId>)],
        others: bool,
        limit: u32,
    ) -> Result<Vec<Bought>, StoreError> {
        let mut session = self.session().await?;
        let orders = orders_after(session.connection(), known, others, limit).await?;
        session.done();
        Ok(orders)
    }

    async fn audit(&self) -> Result<Audit, StoreError> {
        self.auditor.audit().await
    }
}
