//! `sales`.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::{store_error, unreadable};
use super::order_repo::{money, short_text};
use crate::domain::id::{Id, SaleId};
use crate::domain::sale::Sale;
use crate::domain::text::ShortText;
use crate::ports::store::StoreError;

/// A row of `sales`.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct SaleRecord {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) sku: Option<String>,
    pub(super) unit_price: Decimal,
    pub(super) stock: i32,
    pub(super) stock_initial: i32,
    pub(super) per_user_limit: Option<i32>,
    pub(super) starts_at: DateTime<Utc>,
    pub(super) ends_at: Option<DateTime<Utc>>,
    pub(super) sold_out_at: Option<DateTime<Utc>>,
    pub(super) order_count: i64,
    pub(super) created_at: DateTime<Utc>,
}

impl TryFrom<SaleRecord> for Sale {
    type Error = StoreError;

    fn try_from(record: SaleRecord) -> Result<Sale, StoreError> {
        let count = |value: i32| u32::try_from(value).map_err(|_| unreadable("count", value));
        Ok(Sale {
            id: Id::new(record.id),
            name: ShortText::parse(&record.name).map_err(|_| unreadable("name", &record.name))?,
            sku: short_text(record.sku)?,
            unit_price: money(record.unit_price)?,
            stock: count(record.stock)?,
            stock_initial: count(record.stock_initial)?,
            per_user_limit: record.per_user_limit.map(count).transpose()?,
            starts_at: record.starts_at,
            ends_at: record.ends_at,
            sold_out_at: record.sold_out_at.filter(|_| record.stock == 0),
            order_count: record.order_count,
            created_at: record.created_at,
        })
    }
}

/// The committed sale, not locked.
pub(super) async fn find(
    connection: &mut PgConnection,
    id: SaleId,
) -> Result<Option<Sale>, StoreError> {
    sqlx::query_as!(
        SaleRecord,
        "SELECT id, name, sku, unit_price, stock, stock_initial, per_user_limit, starts_at,
                ends_at, sold_out_at, order_count, created_at
         FROM sales WHERE id = $1",
        id.uuid(),
    )
    .fetch_optional(connection)
    .await
    .map_err(store_error)?
    .map(Sale::try_from)
    .transpose()
}

/// Writes a new sale; `false` when its id is taken.
pub(super) async fn insert(connection: &mut PgConnection, sale: &Sale) -> Result<bool, StoreError> {
    let written = sqlx::query!(
        "INSERT INTO sales (id, name, sku, unit_price, stock, stock_initial, per_user_limit,
                            starts_at, ends_at, sold_out_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (id) DO NOTHING",
        sale.id.uuid(),
        sale.name.as_str(),
        sale.sku.as_ref().map(ShortText::as_str),
        sale.unit_price.decimal(),
        sale.stock.cast_signed(),
        sale.stock_initial.cast_signed(),
        sale.per_user_limit.map(u32::cast_signed),
        sale.starts_at,
        sale.ends_at,
        sale.sold_out_at,
        sale.created_at,
    )
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(written.rows_affected() == 1)
}
