//! One sale in figures, in one read-only snapshot: what it sold, when, to how many, and whether its
//! own books are in order. The laws are those of `domain::books`, held to one sale; `verify_laws`
//! has them for the whole installation.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{Connection, PgConnection};

use super::error::{store_error, unreadable};
use super::verify_repo::broken;
use crate::domain::Instant;
use crate::domain::books::{Discrepancy, Law};
use crate::domain::id::SaleId;
use crate::domain::money::Money;
use crate::ports::store::StoreError;

/// The longest list of discrepancies of one law.
const DISCREPANCIES_MAX: i64 = 100;

/// What is known of a sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaleReport {
    /// The database's time of the snapshot.
    pub taken_at: Instant,
    /// The installation's currency.
    pub currency: String,
    /// The sale as it stands.
    pub sale: SaleFacts,
    /// What it sold.
    pub sold: Sold,
    /// The second in which most orders were decided.
    pub peak: Option<Peak>,
    /// Where its books are off; at most a hundred for each law.
    pub discrepancies: Vec<Discrepancy>,
}

/// A row of `sales`.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SaleFacts {
    /// What is sold.
    pub name: String,
    /// The shop's article number.
    pub sku: Option<String>,
    /// Units left.
    pub stock: i32,
    /// Units at the beginning.
    pub stock_initial: i32,
    /// When it opens.
    pub starts_at: DateTime<Utc>,
    /// When it closes.
    pub ends_at: Option<DateTime<Utc>>,
    /// When the last unit went.
    pub sold_out_at: Option<DateTime<Utc>>,
    #[sqlx(rename = "unit_price")]
    price: Decimal,
}

/// Sums over the orders of a sale.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Sold {
    /// Orders.
    pub orders: i64,
    /// Units.
    pub units: i64,
    /// Different buyers.
    pub buyers: i64,
    /// The first decision.
    pub first_order_at: Option<DateTime<Utc>>,
    /// The last decision.
    pub last_order_at: Option<DateTime<Utc>>,
    #[sqlx(rename = "revenue")]
    totals: Decimal,
}

/// A busy second.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Peak {
    /// Its beginning.
    pub second: DateTime<Utc>,
    /// Orders in it.
    pub orders: i64,
    /// Units in it.
    pub units: i64,
}

impl SaleReport {
    /// The price of one unit.
    ///
    /// # Errors
    /// When it is stored as something that is no money.
    pub fn unit_price(&self) -> Result<Money, StoreError> {
        money("unit price", self.sale.price)
    }

    /// What all orders together cost.
    ///
    /// # Errors
    /// When it is stored as something that is no money.
    pub fn revenue(&self) -> Result<Money, StoreError> {
        money("revenue", self.sold.totals)
    }
}

fn money(what: &str, value: Decimal) -> Result<Money, StoreError> {
    Money::from_decimal(value).ok_or_else(|| unreadable(what, value))
}

/// Each law's query for the sale `$1`: subject, expected, actual, all text. `$2` is the longest
/// list wanted.
const LAWS: &[(Law, &str)] = &[
    (
        Law::StockConserved,
        "SELECT 'sale ' || s.id, (s.stock_initial - o.sold)::text, s.stock::text
         FROM sales s,
              (SELECT coalesce(sum(quantity), 0) AS sold FROM orders WHERE sale_id = $1) o
         WHERE s.id = $1 AND (s.stock <> s.stock_initial - o.sold OR s.stock < 0)
         LIMIT $2",
    ),
    (
        Law::SequenceUnbroken,
        "SELECT 'sale ' || s.id, s.order_count || ' orders numbered 1 to ' || s.order_count,
                o.n || ' orders numbered to ' || o.newest
         FROM sales s,
              (SELECT count(*) AS n, coalesce(max(sequence), 0) AS newest FROM orders
               WHERE sale_id = $1) o
         WHERE s.id = $1 AND (o.n <> s.order_count OR o.newest <> s.order_count)
         LIMIT $2",
    ),
    (
        Law::OrderPaid,
        "SELECT 'order ' || o.id,
                'one debit of ' || o.unit_price * o.quantity || ' from wallet ' || o.user_id
                || ' to ' || o.balance_after || ', ' || coalesce(o.reference, 'no reference')
                || ', at ' || o.created_at,
                CASE WHEN e.order_id IS NULL THEN 'no debit'
                     ELSE 'a debit of ' || -e.amount || ' from wallet ' || e.user_id
                          || ' to ' || e.balance_after || ', '
                          || coalesce(e.reference, 'no reference') || ', at ' || e.created_at
                          || ', total ' || o.total END
         FROM orders o LEFT JOIN ledger_entries e ON e.order_id = o.id
         WHERE o.sale_id = $1
           AND (e.order_id IS NULL OR e.amount <> -(o.unit_price * o.quantity)
                OR e.user_id <> o.user_id OR e.type <> 'order'
                OR o.total <> o.unit_price * o.quantity OR e.balance_after <> o.balance_after
                OR e.created_at <> o.created_at OR e.reference IS DISTINCT FROM o.reference)
         LIMIT $2",
    ),
    (
        Law::OneOrderPerKey,
        "SELECT 'order ' || o.id, 'one key of its buyer',
                coalesce('a key of user ' || k.user_id, 'no key')
         FROM orders o
         LEFT JOIN (SELECT resource_id, user_id FROM idempotency_keys WHERE operation = 'order') k
           ON k.resource_id = o.id
         WHERE o.sale_id = $1 AND k.user_id IS DISTINCT FROM o.user_id
         LIMIT $2",
    ),
    (
        Law::LimitKept,
        "SELECT 'user ' || o.user_id, 'at most ' || s.per_user_limit, sum(o.quantity)::text
         FROM orders o JOIN sales s ON s.id = o.sale_id
         WHERE o.sale_id = $1 AND s.per_user_limit IS NOT NULL
         GROUP BY o.user_id, s.id
         HAVING sum(o.quantity) > s.per_user_limit
         LIMIT $2",
    ),
    (
        Law::WindowKept,
        "SELECT 'order ' || o.id,
                'from ' || s.starts_at || coalesce(' to ' || s.ends_at, ''), o.created_at::text
         FROM orders o JOIN sales s ON s.id = o.sale_id
         WHERE o.sale_id = $1 AND (o.created_at < s.starts_at OR o.created_at >= s.ends_at)
         LIMIT $2",
    ),
    (
        Law::PriceKept,
        "SELECT 'order ' || o.id, s.unit_price || ' for one unit', o.unit_price::text
         FROM orders o JOIN sales s ON s.id = o.sale_id
         WHERE o.sale_id = $1 AND o.unit_price <> s.unit_price
         LIMIT $2",
    ),
];

/// One snapshot. A table that was analysed before the rush looks small, and what looks small is
/// read again for each order: 25,000 of them took a third of a minute.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                     SET LOCAL enable_nestloop = off";

/// Reports on a sale; `None` when there is none with this id.
///
/// # Errors
/// [`StoreError`]
pub async fn report(
    connection: &mut PgConnection,
    id: SaleId,
) -> Result<Option<SaleReport>, StoreError> {
    let mut snapshot = connection.begin_with(BEGIN).await.map_err(store_error)?;
    let found = read(&mut snapshot, id).await.map_err(store_error)?;
    snapshot.rollback().await.map_err(store_error)?;
    Ok(found)
}

async fn read(snapshot: &mut PgConnection, id: SaleId) -> Result<Option<SaleReport>, sqlx::Error> {
    // On one core, so that a sale beside it keeps the rest.
    sqlx::query("SET LOCAL max_parallel_workers_per_gather = 0").execute(&mut *snapshot).await?;
    let sale: Option<SaleFacts> = sqlx::query_as(
        "SELECT name, sku, unit_price, stock, stock_initial, starts_at, ends_at, sold_out_at
         FROM sales WHERE id = $1",
    )
    .bind(id.uuid())
    .fetch_optional(&mut *snapshot)
    .await?;
    let Some(sale) = sale else { return Ok(None) };
    let (taken_at, currency): (DateTime<Utc>, String) =
        sqlx::query_as("SELECT clock_timestamp(), currency FROM installation")
            .fetch_one(&mut *snapshot)
            .await?;
    let sold = sqlx::query_as(
        "SELECT count(*) AS orders, coalesce(sum(quantity), 0)::bigint AS units,
                count(DISTINCT user_id) AS buyers, coalesce(sum(total), 0.00) AS revenue,
                min(created_at) AS first_order_at, max(created_at) AS last_order_at
         FROM orders WHERE sale_id = $1",
    )
    .bind(id.uuid())
    .fetch_one(&mut *snapshot)
    .await?;
    let peak = sqlx::query_as(
        "SELECT date_trunc('second', created_at) AS second, count(*) AS orders,
                sum(quantity)::bigint AS units
         FROM orders WHERE sale_id = $1 GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1",
    )
    .bind(id.uuid())
    .fetch_optional(&mut *snapshot)
    .await?;
    let mut discrepancies = Vec::new();
    for (law, query) in LAWS {
        let rows = sqlx::query_as(*query)
            .bind(id.uuid())
            .bind(DISCREPANCIES_MAX)
            .fetch_all(&mut *snapshot)
            .await?;
        discrepancies.extend(broken(*law, rows));
    }
    Ok(Some(SaleReport { taken_at, currency, sale, sold, peak, discrepancies }))
}
