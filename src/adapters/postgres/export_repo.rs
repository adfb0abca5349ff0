//! Whole tables, row by row: one read-only snapshot, one row in memory at a time.
//!
//! PostgreSQL sends rows as fast as they are taken; the socket's buffers are the only queue.

use std::io;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{Column, Connection, PgConnection, Row, TypeInfo, ValueRef};
use uuid::Uuid;

use super::error::store_error;
use crate::domain::id::SaleId;
use crate::ports::store::StoreError;

/// A table as it leaves the house.
#[derive(Debug, Clone, Copy)]
pub struct Export {
    /// The names of its columns, in the order of the query.
    pub columns: &'static [&'static str],
    /// `$1` is the sale, or NULL for all.
    query: &'static str,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Nothing.
    Absent,
    /// A whole number.
    Number(i64),
    /// An id, an amount, a moment: one exact spelling that cannot hold anything else.
    Exact(String),
    /// Free text.
    Text(String),
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such sale.
    #[error("no sale has the id {0}")]
    NoSale(SaleId),
    /// Whoever takes the rows.
    #[error(transparent)]
    Sink(#[from] io::Error),
}

/// Orders, by sale, in the order of decision.
pub const ORDERS: Export = Export {
    columns: &[
        "id",
        "user_id",
        "sale_id",
        "sequence",
        "quantity",
        "unit_price",
        "total",
        "currency",
        "status",
        "balance_after",
        "reference",
        "created_at",
    ],
    query: "SELECT id, user_id, sale_id, sequence, quantity, unit_price, total,
                   (SELECT currency FROM installation), status, balance_after, reference,
                   created_at
            FROM orders WHERE $1 IS NULL OR sale_id = $1
            ORDER BY sale_id, sequence",
};

/// Ledger entries, by wallet, oldest first; with a sale, the debits of its orders.
pub const LEDGER: Export = Export {
    columns: &[
        "id",
        "user_id",
        "number",
        "type",
        "amount",
        "currency",
        "balance_after",
        "order_id",
        "reference",
        "created_at",
    ],
    query: "SELECT e.id, e.user_id, e.number, e.type, e.amount,
                   (SELECT currency FROM installation), e.balance_after, e.order_id, e.reference,
                   e.created_at
            FROM ledger_entries e
            WHERE $1 IS NULL
               OR EXISTS (SELECT FROM orders o WHERE o.id = e.order_id AND o.sale_id = $1)
            ORDER BY e.user_id, e.number",
};

/// Sales, oldest first.
pub const SALES: Export = Export {
    columns: &[
        "id",
        "name",
        "sku",
        "currency",
        "unit_price",
        "stock",
        "stock_initial",
        "per_user_limit",
        "starts_at",
        "ends_at",
        "sold_out_at",
        "created_at",
    ],
    query: "SELECT id, name, sku, (SELECT currency FROM installation), unit_price, stock,
                   stock_initial, per_user_limit, starts_at, ends_at, sold_out_at, created_at
            FROM sales WHERE $1 IS NULL OR id = $1
            ORDER BY created_at, id",
};

/// Hands every row to `take`, in one snapshot.
///
/// # Errors
/// [`ExportError`]; the rows until then were taken.
pub async fn export(
    connection: &mut PgConnection,
    table: Export,
    sale: Option<SaleId>,
    mut take: impl FnMut(&[Cell]) -> io::Result<()>,
) -> Result<(), ExportError> {
    let mut snapshot = connection
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await
        .map_err(store_error)?;
    for setting in [
        // On one core, so that a sale beside it keeps the rest.
        "SET LOCAL max_parallel_workers_per_gather = 0",
        // A reader who is slow with the last rows is no session that was forgotten.
        "SET LOCAL idle_in_transaction_session_timeout = 0",
    ] {
        sqlx::query(setting).execute(&mut *snapshot).await.map_err(store_error)?;
    }
    if let Some(sale) = sale {
        let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM sales WHERE id = $1)")
            .bind(sale.uuid())
            .fetch_one(&mut *snapshot)
            .await
            .map_err(store_error)?;
        if !there {
            return Err(ExportError::NoSale(sale));
        }
    }
    let sale = sale.map(|sale| sale.uuid());
    let mut rows = sqlx::query(table.query).bind(sale).fetch(&mut *snapshot);
    let mut cells = Vec::with_capacity(table.columns.len());
    while let Some(row) = rows.try_next().await.map_err(store_error)? {
        cells.clear();
        for at in 0..row.len() {
            cells.push(cell(&row, at).map_err(store_error)?);
        }
        assert_eq!(cells.len(), table.columns.len(), "every column has its name");
        take(&cells)?;
    }
    drop(rows);
    Ok(snapshot.rollback().await.map_err(store_error)?)
}

/// The column's type says what its value is.
fn cell(row: &PgRow, at: usize) -> Result<Cell, sqlx::Error> {
    if row.try_get_raw(at)?.is_null() {
        return Ok(Cell::Absent);
    }
    Ok(match row.column(at).type_info().name() {
        "INT4" => Cell::Number(row.try_get::<i32, _>(at)?.into()),
        "INT8" => Cell::Number(row.try_get(at)?),
        "UUID" => Cell::Exact(row.try_get::<Uuid, _>(at)?.hyphenated().to_string()),
        "NUMERIC" => Cell::Exact(format!("{:.2}", row.try_get::<Decimal, _>(at)?)),
        "TIMESTAMPTZ" => {
            let moment: DateTime<Utc> = row.try_get(at)?;
            Cell::Exact(moment.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
        }
        _ => Cell::Text(row.try_get(at)?),
    })
}
