//! `orders`, and the one statement that writes what a decided group leaves behind.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::{expect_rows, store_error, unreadable};
use crate::domain::id::{Id, UserId};
use crate::domain::money::Money;
use crate::domain::order::Order;
use crate::domain::quantity::Quantity;
use crate::domain::text::ShortText;
use crate::ports::store::{StoreError, Winners};

/// A row of `orders`.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct OrderRecord {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) sale_id: Uuid,
    pub(super) sequence: i64,
    pub(super) quantity: i32,
    pub(super) unit_price: Decimal,
    pub(super) total: Decimal,
    pub(super) balance_after: Decimal,
    pub(super) reference: Option<String>,
    pub(super) created_at: DateTime<Utc>,
}

impl TryFrom<OrderRecord> for Order {
    type Error = StoreError;

    fn try_from(record: OrderRecord) -> Result<Order, StoreError> {
        let quantity = u64::try_from(record.quantity).ok().and_then(Quantity::new);
        Ok(Order {
            id: Id::new(record.id),
            user_id: Id::new(record.user_id),
            sale_id: Id::new(record.sale_id),
            sequence: record.sequence,
            quantity: quantity.ok_or_else(|| unreadable("quantity", record.quantity))?,
            unit_price: money(record.unit_price)?,
            total: money(record.total)?,
            balance_after: money(record.balance_after)?,
            reference: short_text(record.reference)?,
            created_at: record.created_at,
        })
    }
}

/// A stored amount.
pub(super) fn money(value: Decimal) -> Result<Money, StoreError> {
    Money::from_decimal(value).ok_or_else(|| unreadable("amount", value))
}

/// A stored text.
pub(super) fn short_text(value: Option<String>) -> Result<Option<ShortText>, StoreError> {
    value
        .map(|text| ShortText::parse(&text).map_err(|_| unreadable("text", text.escape_debug())))
        .transpose()
}

/// One column for each field of the winners, as `unnest` wants them.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    users: Vec<Uuid>,
    sequences: Vec<i64>,
    quantities: Vec<i32>,
    totals: Vec<Decimal>,
    debits: Vec<Decimal>,
    balances_after: Vec<Decimal>,
    references: Vec<Option<String>>,
    created: Vec<DateTime<Utc>>,
    entry_ids: Vec<Uuid>,
    entry_numbers: Vec<i64>,
    wallet_users: Vec<Uuid>,
    wallet_balances: Vec<Decimal>,
    wallet_counts: Vec<i64>,
    wallet_counts_before: Vec<i64>,
}

impl Columns {
    fn of(winners: &Winners) -> Columns {
        let mut columns = Columns::default();
        for (order, entry) in winners.orders.iter().zip(&winners.entries) {
            columns.ids.push(order.id.uuid());
            columns.users.push(order.user_id.uuid());
            columns.sequences.push(order.sequence);
            columns.quantities.push(order.quantity.units().cast_signed());
            columns.totals.push(order.total.decimal());
            columns.debits.push(-entry.amount.decimal());
            columns.balances_after.push(order.balance_after.decimal());
            columns.references.push(order.reference.as_ref().map(ToString::to_string));
            columns.created.push(order.created_at);
            columns.entry_ids.push(entry.id.uuid());
            columns.entry_numbers.push(entry.number);
        }
        let mut added: HashMap<UserId, i64> = HashMap::new();
        for entry in &winners.entries {
            *added.entry(entry.user_id).or_default() += 1;
        }
        for wallet in &winners.wallets {
            let before = wallet.entry_count - added.get(&wallet.user_id).copied().unwrap_or(0);
            columns.wallet_users.push(wallet.user_id.uuid());
            columns.wallet_balances.push(wallet.balance.decimal());
            columns.wallet_counts.push(wallet.entry_count);
            columns.wallet_counts_before.push(before);
        }
        columns
    }
}

/// Writes orders, debits, wallets and the sale in one statement. Each row is touched once; the
/// counters that wallets and sale had when they were read must still stand there, and the sale's
/// stock, which an operator may move: so a write that did not hold its locks touches too few rows
/// and fails.
pub(super) async fn record(
    connection: &mut PgConnection,
    winners: &Winners,
) -> Result<(), StoreError> {
    let Some(sale) = &winners.sale else {
        return expect_rows("orders without a sale", winners.orders.len(), 0);
    };
    let columns = Columns::of(winners);
    let decided_at = winners.orders.last().map(|order| order.created_at);
    let units: u32 = winners.orders.iter().map(|order| order.quantity.units()).sum();
    let stock_before = sale.stock.saturating_add(units);
    let before = sale.order_count - i64::try_from(winners.orders.len()).unwrap_or(i64::MAX);
    let touched = sqlx::query_file!(
        "src/adapters/postgres/record.sql",
        sale.id.uuid(),
        sale.unit_price.decimal(),
        &columns.ids,
        &columns.users,
        &columns.sequences,
        &columns.quantities,
        &columns.totals,
        &columns.balances_after,
        &columns.references as _,
        &columns.created,
        &columns.entry_ids,
        &columns.entry_numbers,
        &columns.debits,
        &columns.wallet_users,
        &columns.wallet_balances,
        &columns.wallet_counts,
        &columns.wallet_counts_before,
        decided_at,
        sale.stock.cast_signed(),
        sale.order_count,
        sale.sold_out_at,
        before,
        stock_before.cast_signed(),
        winners.too_late,
    )
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    if let Some(moment) = winners.too_late.filter(|_| touched.too_late > 0) {
        return Err(StoreError::TooLate(moment));
    }
    expect_rows("the sale", 1, touched.sales)?;
    expect_rows("wallets", winners.wallets.len(), touched.wallets)?;
    expect_rows("orders", winners.orders.len(), touched.orders)?;
    expect_rows("debits", winners.entries.len(), touched.entries)
}
